#include "net/crypto.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <vector>

#include "base/check.h"

namespace infinicache::net {

Digest HmacSha256(std::string_view key, std::string_view message) {
  Digest digest{};
  unsigned int length = 0;
  const unsigned char* result =
      // A null key would mean "the key of the last call".
      HMAC(EVP_sha256(), key.empty() ? "" : key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(),
           reinterpret_cast<unsigned char*>(digest.data()), &length);
  CHECK(result != nullptr && length == digest.size());
  return digest;
}

bool EqualInConstantTime(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

bool EqualInConstantTime(std::string_view a, std::string_view b) {
  return EqualInConstantTime(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)));
}

void RandomBytes(std::span<std::byte> bytes) {
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()),
                   static_cast<int>(bytes.size())) == 1);
}

std::string RandomHex(std::size_t bytes) {
  std::vector<std::byte> random(bytes);
  RandomBytes(random);
  std::string text;
  for (std::byte byte : random)
    fmt::format_to(std::back_inserter(text), "{:02x}", static_cast<unsigned>(byte));
  return text;
}

}  // namespace infinicache::net
