// Task<T>: a coroutine that runs on an event loop.
//
// A Task starts when it is awaited (or given to EventLoop::Spawn) and resumes on its loop's thread
// only. Awaiting code never throws for I/O: failures are Result values. References passed to a Task
// must outlive its completion.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

namespace infinicache::net {

// Named instead of Asio's default, any_io_executor, whose type erasure costs a virtual call and a
// reference count at every suspension (a tenth of a small request).
using Executor = boost::asio::io_context::executor_type;

template <typename T = void>
using Task = boost::asio::awaitable<T, Executor>;

inline constexpr boost::asio::use_awaitable_t<Executor> kUseAwaitable;

using SteadyTimer = boost::asio::basic_waitable_timer<
    std::chrono::steady_clock, boost::asio::wait_traits<std::chrono::steady_clock>, Executor>;

// Completion token of this module: asynchronous operations yield (error_code, result) tuples
// instead of throwing.
inline constexpr auto kAsTuple = boost::asio::as_tuple(kUseAwaitable);

}  // namespace infinicache::net
