// The JSON of the admin API. Field names are stable: programs read them. All sizes are in bytes,
// "_ms" are Unix milliseconds.
//
// 64-bit identities are strings, since many JSON readers keep numbers as doubles: an instance as 16
// hexadecimal digits, a version in decimal.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "admin/doctor.h"
#include "admin/system_view.h"
#include "cache/cache.h"
#include "pool/node_state.h"

namespace infinicache::admin {

// {"error": reason}. REQUIRES: `reason` is UTF-8.
std::string ErrorJson(std::string_view reason);

std::string StatusJson(const SystemView& view);

// See admin/doctor.h for what it is made of.
std::string DoctorJson(const DoctorView& view);

// {id, at_ms, kind, node, instance, detail}, on one line; of objects also their figures.
std::string EventJson(const pool::Event& event);

// {"events":[{"id","at_ms","kind","node","instance","detail"}],"last_id"}; `last_id` is the log's
// newest number, so that a follower with nothing to show knows where it is.
std::string EventsJson(std::span<const pool::Event> events, std::uint64_t last_id);

// [{id, state, instance, pid, address, bytes_used, bytes_lent, bytes_limit, chunks}]; instance, pid
// and address are null for a node without an instance, pid also where instances are no processes of
// this machine.
std::string NodesJson(std::span<const pool::NodeView> nodes);

// {key, key_encoded, bytes, version, code, strip_bytes, expires_at_ms, surviving, needed, chunks}.
//
// A key may be any bytes, JSON holds text: `key_encoded` is the key percent-encoded, as it stands
// in the URL of this resource; `key` is the key itself, or null if it is not UTF-8. `node` of a
// chunk that is not `alive` is null: it is nowhere.
std::string ObjectJson(const cache::ObjectView& object);

}  // namespace infinicache::admin
