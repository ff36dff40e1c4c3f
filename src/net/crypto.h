// HMAC-SHA256 and random bytes, from OpenSSL. Safe to call from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace infinicache::net {

using Digest = std::array<std::byte, 32>;

// HMAC-SHA256 (RFC 2104) of `message` under `key`.
Digest HmacSha256(std::string_view key, std::string_view message);

// Compares in time that does not depend on where the two differ.
bool EqualInConstantTime(std::span<const std::byte> a, std::span<const std::byte> b);
bool EqualInConstantTime(std::string_view a, std::string_view b);

// Fills `bytes` from the system's cryptographic generator; stops the program if that fails.
void RandomBytes(std::span<std::byte> bytes);

// `bytes` random bytes as lower-case hexadecimal.
std::string RandomHex(std::size_t bytes);

}  // namespace infinicache::net
