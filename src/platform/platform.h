// Where instances run, as the pool sees it.
//
// A platform starts instances of nodes and tells when one is reachable and when one has ended. What
// differs between platforms is stated as data, in Traits; nothing above this interface asks which
// platform it talks to.
//
// Thread-safety: all calls, and all calls of the observer, are on the control loop.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "net/socket.h"

namespace infinicache::platform {

struct Traits {
  bool inbound = true;   // instances accept connections: the proxy dials
  bool freezes = false;  // an idle instance's threads stop
  bool notifies = true;  // the node's end of session is told to the proxy
  bool same_host =
      false;  // proxy and instances share a machine: small socket buffers stay in cache
  Duration billing_quantum{0};
  Duration session_max = Duration::max();
  std::uint64_t node_memory_bytes = 0;
};

// An instance that is ready for links.
struct Instance {
  NodeId node;
  InstanceId id;
  net::HostPort address;
  int pid = 0;  // 0 where instances are not processes of this machine
};

// How an instance ended.
struct InstanceEnd {
  bool reclaimed = false;  // the platform took it away, else it ended for another reason
  std::string reason = {};
};

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void OnInstanceReady(const Instance& instance) = 0;
  // The instance and its memory are gone.
  virtual void OnInstanceEnded(const Instance& instance, const InstanceEnd& end) = 0;
  // An invocation did not lead to an instance.
  virtual void OnInvokeFailed(NodeId node, const Error& error) = 0;
};

class Platform {
 public:
  virtual ~Platform() = default;
  virtual const Traits& traits() const = 0;
  // The one who is told; set once, before the first Invoke. The observer outlives the platform's
  // Stop.
  virtual void set_observer(Observer* observer) = 0;
  // Starts an instance of `node`, which must have none. The answer comes to the observer.
  virtual void Invoke(NodeId node) = 0;
  // Takes the node's instance away, as a provider may at any time: its end comes to the observer.
  // Errors: kNotFound (the node has no instance that is ready).
  virtual Status Reclaim(NodeId node) = 0;
  // Ends every instance, in order first and by force after `grace`, and waits for their end. No
  // event follows.
  virtual void Stop(Duration grace) = 0;
};

}  // namespace infinicache::platform
