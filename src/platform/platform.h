// Where instances run, as the pool sees it.
//
// A platform runs sessions: an invocation of a node goes to an idle instance of it, or starts one,
// and returns when the session has ended. What differs between platforms is stated as data, in
// Traits; nothing above this interface asks which platform it talks to.
//
// Thread-safety: all calls, and all calls of the observer, are on the control loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "net/socket.h"
#include "policy/node_machine.h"

namespace infinicache::platform {

struct Traits {
  bool inbound = true;     // instances accept connections: the proxy dials, else they do
  bool freezes = false;    // an idle instance's threads stop
  bool notifies = true;    // a session's BYE reaches the proxy before the session ends
  bool standing = true;    // sessions need not end: the pool keeps one open on every node
  bool tells_ends = true;  // the end of an instance is told (Observer::OnInstanceEnded)
  // Proxy and instances share a machine: small socket buffers stay in cache.
  bool same_host = false;
  Duration billing_quantum{0};
  Duration session_max = kSessionMax;  // a longer session is ended by force, and its instance
  std::uint64_t node_memory_bytes = 0;

  // "For ever", and far from an overflow of time points.
  static constexpr Duration kSessionMax = std::chrono::hours(24 * 365 * 10);
};

// What an invocation carries.
struct Invocation {
  SessionId session;
  policy::Purpose purpose = policy::Purpose::kRequest;
  net::HostPort proxy = {};  // where the node dials; no host: the proxy dials
  std::uint16_t data_links = 0;
};

// An instance that is ready for links.
struct Instance {
  NodeId node;
  InstanceId id;
  net::HostPort address;  // no host unless traits.inbound
  int pid = 0;            // 0 where instances are not processes of this machine
};

// How an instance ended.
struct InstanceEnd {
  bool reclaimed = false;  // the platform took it away, else it ended for another reason
  std::string reason = {};
};

// How a session ended.
struct SessionEnd {
  InstanceId instance = {};    // that had it; 0: none had, or the platform does not know
  std::optional<Error> fault;  // it did not return in order, or never ran
  bool reclaimed = false;      // the fault: the platform took the instance away
  bool ran = true;             // an instance had it, and it is billed
  Duration duration{0};        // what is billed of it, before rounding and without `init`
  bool cold = false;           // it started the instance
  Duration init{0};            // a cold start's time until the session began
};

// How many instances there are, and what they do.
struct InstanceCounts {
  std::size_t busy = 0;
  std::size_t idle = 0;    // between sessions, running
  std::size_t frozen = 0;  // between sessions, stopped
  // In sum of all that live and that have ended; never falls. None: the platform does not know.
  std::optional<Duration> lived = {};
};

class Observer {
 public:
  virtual ~Observer() = default;
  // Told by platforms that learn of it, once for each instance.
  virtual void OnInstanceReady(const Instance& instance) = 0;
  // The instance and its memory are gone. Only if traits.tells_ends.
  virtual void OnInstanceEnded(const Instance& instance, const InstanceEnd& end) = 0;
  // The invocation returned, or failed. Once for each time that it ran, which is more than once
  // where a platform repeats invocations, and before OnInstanceEnded of its instance.
  virtual void OnSessionEnded(NodeId node, SessionId session, const SessionEnd& end) = 0;
};

class Platform {
 public:
  virtual ~Platform() = default;
  virtual const Traits& traits() const = 0;
  // The one who is told; set once, before the first Invoke. The observer outlives the platform's
  // Stop.
  virtual void set_observer(Observer* observer) = 0;
  // Opens a session of `node`, on an idle instance or a new one. The answer comes to the observer,
  // never from within the call.
  virtual void Invoke(NodeId node, const Invocation& invocation) = 0;
  // Takes an instance of the node away, as a provider may at any time.
  // Errors: kNotFound (the node has no instance that is ready).
  virtual Status Reclaim(NodeId node) = 0;
  // Of the node's instances this one has what was written last: who takes the instances over after
  // a crash takes it, if it can take one only.
  virtual void NotePrimary(NodeId /*node*/, InstanceId /*instance*/) {}
  // The host that runs the node's instances, or would: nodes with equal numbers share one. Where
  // the platform does not know, each node has its own. From any thread; never changes.
  virtual std::uint32_t HostOf(NodeId node) const { return node.value(); }
  // As far as the platform knows.
  virtual InstanceCounts Count() const = 0;
  // Ends every instance, in order first and by force after `grace`, and waits for their end. No
  // event follows.
  virtual void Stop(Duration grace) = 0;
};

}  // namespace infinicache::platform
