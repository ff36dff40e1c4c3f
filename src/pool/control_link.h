// The link to one instance that carries its sessions' own messages: PONG, PING, BYE, and those of
// backups.
//
// It is on the control loop, apart from the data links, so that it answers while those are busy. It
// is dialled, again and again while the instance is thought alive, or was accepted from the node;
// then the node dials another one when it notices the end of this.
//
// Thread-safety: the control loop. Shared with its own coroutine: it lives until that has ended,
// which is soon after Stop.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/random.h"
#include "net/frame_reader.h"
#include "net/notification.h"
#include "net/socket.h"
#include "wire/session_frames.h"
#include "wire/sync_frames.h"

namespace infinicache::pool {

class ControlLink {
 public:
  class Handler {
   public:
    virtual void OnPong(NodeId node, const wire::Pong& pong) = 0;
    virtual void OnBye(NodeId node, InstanceId instance, SessionId session,
                       const wire::ByeTotals& totals, const wire::NodeFill& fill) = 0;
    // The session's backup to its peer has ended.
    virtual void OnSyncReport(NodeId node, InstanceId instance, const wire::SyncReport& report) = 0;
    virtual void OnControlLost(NodeId node, InstanceId instance) = 0;

   protected:
    ~Handler() = default;
  };

  // `handler` outlives the link's coroutine, or is not called after Stop.
  ControlLink(net::EventLoop& loop, NodeId node, InstanceId instance, Handler& handler);

  static void Dial(const std::shared_ptr<ControlLink>& link, net::HostPort address,
                   std::string secret);
  // `socket`'s handshake is done.
  static void Serve(const std::shared_ptr<ControlLink>& link, net::Socket socket);

  // Asks the session for a PONG. Nothing if the link is not there now.
  void Ping(SessionId session);
  // Sends a short message. False if the link is not there now.
  bool Send(wire::FrameHeader header, std::string_view meta);
  // Ends the link; its handler is not called any more.
  void Stop();
  bool stopped() const { return stopped_; }
  InstanceId instance() const { return instance_; }

 private:
  static net::Task<> RunDialling(std::shared_ptr<ControlLink> link, net::HostPort address,
                                 std::string secret);
  static net::Task<> RunServing(std::shared_ptr<ControlLink> link);
  net::Task<Status> Connect(const net::HostPort& address, const std::string& secret);
  // Until the connection ends.
  net::Task<Status> ReadFrames();
  net::Task<> ReadAndDisconnect();

  net::EventLoop& loop_;
  const NodeId node_;
  const InstanceId instance_;
  Handler& handler_;
  Random random_;
  std::optional<net::Socket> socket_;
  std::optional<net::FrameReader> reader_;
  net::Notification wake_;
  bool connected_ = false;
  bool stopped_ = false;
};

}  // namespace infinicache::pool
