# Third-party libraries, all from Debian 12. Run `make deps` when one is missing.

find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(prometheus-cpp REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(GTest REQUIRED)
find_package(rapidcheck REQUIRED)
find_package(benchmark REQUIRED)

function(infinicache_header_only name header)
  find_path(${name}_INCLUDE ${header} REQUIRED)
  add_library(${name} INTERFACE)
  target_include_directories(${name} SYSTEM INTERFACE ${${name}_INCLUDE})
endfunction()

infinicache_header_only(CLI11 CLI/CLI.hpp)
infinicache_header_only(xxhash xxhash.h)
infinicache_header_only(tl_expected tl/expected.hpp)
add_library(tl::expected ALIAS tl_expected)

find_library(ISAL_LIBRARY NAMES libisal.a isal REQUIRED)
add_library(isal INTERFACE)
target_link_libraries(isal INTERFACE ${ISAL_LIBRARY})

# Asio is compiled once, in net/asio_impl.cc, instead of in every file that awaits something.
add_library(asio INTERFACE)
target_compile_definitions(asio INTERFACE
  BOOST_ASIO_SEPARATE_COMPILATION
  BOOST_ASIO_NO_DEPRECATED
  # Coroutine frames are recycled per thread; the default keeps two, fewer than one request uses.
  BOOST_ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=16
  BOOST_BEAST_SEPARATE_COMPILATION)
target_link_libraries(asio INTERFACE Boost::headers Threads::Threads)
