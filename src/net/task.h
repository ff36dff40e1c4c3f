// Task<T>: a coroutine that runs on an event loop.
//
// A Task starts when it is awaited (or given to EventLoop::Spawn) and resumes on its loop's thread
// only. Awaiting code never throws for I/O: failures are Result values. References passed to a Task
// must outlive its completion.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace infinicache::net {

template <typename T = void>
using Task = boost::asio::awaitable<T>;

// Completion token of this module: asynchronous operations yield (error_code, result) tuples
// instead of throwing.
inline constexpr auto kAsTuple = boost::asio::as_tuple(boost::asio::use_awaitable);

}  // namespace infinicache::net
