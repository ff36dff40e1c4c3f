# Compiler choice and flags; each flag with its reason.

# gcc before 13 destroys some temporaries of a co_await expression twice; a binary built with it corrupts memory.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  message(FATAL_ERROR
    "gcc ${CMAKE_CXX_COMPILER_VERSION} miscompiles C++20 coroutines (temporaries in a co_await expression are "
    "destroyed twice). Configure with clang 19: cmake --preset release, or -DCMAKE_CXX_COMPILER=clang++-19.")
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

set(INFINICACHE_SANITIZE "" CACHE STRING "address+undefined, thread, or empty")

find_program(CCACHE ccache)
if(CCACHE)
  # Paths are hashed relative to the checkout, so that two clones on one machine share the cache.
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
endif()

# The default linker takes seconds for a binary with debug information; lld takes a fraction.
add_link_options(-fuse-ld=lld)

# Frame pointers cost about 1 % and make every profile readable.
add_compile_options(-fno-omit-frame-pointer)

if(INFINICACHE_SANITIZE STREQUAL "address+undefined")
  # The fuzz targets are part of this build, so that a check compiles everything with sanitizers once:
  # every object is instrumented for coverage (hardly slower), only they link libFuzzer's main().
  add_compile_options(-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
elseif(INFINICACHE_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread)
  add_link_options(-fsanitize=thread)
elseif(NOT INFINICACHE_SANITIZE STREQUAL "")
  message(FATAL_ERROR "INFINICACHE_SANITIZE=${INFINICACHE_SANITIZE}: expected address+undefined or thread")
endif()

# Warnings are errors in our own code; third-party headers are SYSTEM.
add_library(infinicache_flags INTERFACE)
target_compile_options(infinicache_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Wunused -Woverloaded-virtual -Werror)
target_include_directories(infinicache_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
