#include "coding/codec.h"

#include <gtest/gtest.h>
#include <isa-l/erasure_code.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <string>
#include <thread>
#include <vector>

#include "coding/codes_for_test.h"
#include "coding/strips_for_test.h"

namespace infinicache::coding {
namespace {

std::uint64_t AllStrips(Code code) {
  return (std::uint64_t{1} << code.width()) - 1;
}

// A row with random data strips and the parity that `codec` gives them.
StripsForTest EncodedRow(const Codec& codec, std::size_t bytes, std::uint64_t seed) {
  const Code code = codec.code();
  StripsForTest row(code.width(), bytes);
  Random random(seed);
  for (std::size_t i = 0; i < code.data; ++i) row.Fill(i, random);
  codec.Encode(row.first(code.data), row.from(code.data), bytes);
  return row;
}

bool SameStrip(const StripsForTest& a, const StripsForTest& b, std::size_t i) {
  return std::ranges::equal(a.strip(i), b.strip(i));
}

// Copies `original` without the strips in `lost`, rebuilds those in `wanted` and compares.
void ExpectRebuilds(const Codec& codec, const StripsForTest& original, std::uint64_t lost,
                    std::uint64_t wanted) {
  const Code code = codec.code();
  StripsForTest row(code.width(), original.bytes());
  std::vector<std::byte*> pointers(row.all().begin(), row.all().end());
  for (std::size_t i = 0; i < code.width(); ++i) {
    if ((lost >> i & 1) == 0) {
      std::ranges::copy(original.strip(i), row.strip(i).begin());
    } else if ((wanted >> i & 1) == 0) {
      pointers[i] = nullptr;  // neither read nor written
    } else {
      std::ranges::fill(row.strip(i), std::byte{0xA5});
    }
  }
  codec.Reconstruct(pointers, AllStrips(code) & ~lost, wanted, row.bytes());
  for (std::size_t i = 0; i < code.width(); ++i) {
    if (pointers[i] == nullptr) continue;
    ASSERT_TRUE(SameStrip(row, original, i)) << code.ToString() << " strip " << i << std::hex
                                             << " lost " << lost << " wanted " << wanted;
  }
}

class CodecKernelTest : public ::testing::TestWithParam<Kernel> {
 protected:
  void SetUp() override {
    if (!KernelSupported(GetParam())) GTEST_SKIP() << "not supported by this CPU";
  }
};

TEST_P(CodecKernelTest, RebuildsEveryLossOfTheShippedCodes) {
  for (const Code code : kCodesForTest) {
    if (LossesForTest(code) > 2600) continue;  // wider ones: gf_matrix_test, and sampled below
    const auto codec = Codec::For(code, GetParam());
    const StripsForTest row = EncodedRow(*codec, 64, 1);
    ForEachLossForTest(code, [&](std::uint64_t lost) {
      if (!HasFatalFailure()) ExpectRebuilds(*codec, row, lost, lost);
    });
    if (HasFatalFailure()) return;
  }
}

TEST_P(CodecKernelTest, RebuildsSampledLossesOfEveryValidCode) {
  constexpr std::uint64_t kSeed = 2;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  for (unsigned data = 1; data <= kCodeWidthMax; ++data) {
    for (unsigned parity = 1; data + parity <= kCodeWidthMax; parity += 1 + parity / 4) {
      const Code code = {static_cast<std::uint8_t>(data), static_cast<std::uint8_t>(parity)};
      const auto codec = Codec::For(code, GetParam());
      const StripsForTest row = EncodedRow(*codec, 64 * (1 + random.Below(9)), random());
      for (int sample = 0; sample < 4; ++sample) {
        std::uint64_t lost = 0;
        while (std::popcount(lost) < int{code.parity}) lost |= 1ULL << random.Below(code.width());
        const std::uint64_t wanted = lost & random();
        ASSERT_NO_FATAL_FAILURE(ExpectRebuilds(*codec, row, lost, wanted));
        ASSERT_NO_FATAL_FAILURE(ExpectRebuilds(*codec, row, lost, lost));
      }
    }
  }
}

// ISA-L itself, with tables made from the same matrix and no code of ours between.
TEST_P(CodecKernelTest, EncodesTheBytesThatIsalGives) {
  Random random(3);
  for (const Code code : kCodesForTest) {
    if (code.parity == 0) continue;
    const GfMatrix matrix = ParityMatrix(code);
    std::vector<unsigned char> cells;
    for (std::size_t i = 0; i < matrix.rows(); ++i) {
      for (std::size_t j = 0; j < matrix.columns(); ++j) cells.push_back(matrix.at(i, j));
    }
    std::vector<unsigned char> tables(32 * cells.size());
    ec_init_tables(code.data, code.parity, cells.data(), tables.data());
    const auto codec = Codec::For(code, GetParam());
    for (const std::size_t bytes : {64UL, 128UL, 192UL, 256UL, 320UL, 4096UL, 65536UL + 192}) {
      const StripsForTest row = EncodedRow(*codec, bytes, random());
      StripsForTest expected(code.parity, bytes);
      std::vector<unsigned char*> sources;
      std::vector<unsigned char*> targets;
      for (std::size_t i = 0; i < code.data; ++i) {
        sources.push_back(reinterpret_cast<unsigned char*>(row.all()[i]));
      }
      for (std::byte* strip : expected.all()) {
        targets.push_back(reinterpret_cast<unsigned char*>(strip));
      }
      ec_encode_data_base(static_cast<int>(bytes), code.data, code.parity, tables.data(),
                          sources.data(), targets.data());
      for (std::size_t i = 0; i < code.parity; ++i) {
        ASSERT_TRUE(std::ranges::equal(expected.strip(i), row.strip(code.data + i)))
            << code.ToString() << " parity " << i << ", " << bytes << " bytes";
      }
    }
  }
}

TEST_P(CodecKernelTest, LeavesBytesBesideTheOutputsAlone) {
  const Code code = {5, 3};
  const auto codec = Codec::For(code, GetParam());
  for (std::size_t bytes = 64; bytes <= 1024; bytes += 64) {
    StripsForTest row = EncodedRow(*codec, bytes + 128, 4);
    for (std::size_t i = 5; i < 8; ++i) std::ranges::fill(row.strip(i), std::byte{0x5A});
    std::vector<std::byte*> inner;
    for (std::byte* strip : row.all()) inner.push_back(strip + 64);
    std::vector<const std::byte*> data(inner.begin(), inner.begin() + 5);
    codec->Encode(data, std::span(inner).subspan(5), bytes);
    for (std::size_t i = 5; i < 8; ++i) {
      const auto untouched = [](std::byte b) { return b == std::byte{0x5A}; };
      ASSERT_TRUE(std::ranges::all_of(row.strip(i).first(64), untouched)) << bytes;
      ASSERT_TRUE(std::ranges::all_of(row.strip(i).last(64), untouched)) << bytes;
      ASSERT_FALSE(std::ranges::all_of(row.strip(i), untouched)) << bytes;
    }
  }
}

TEST_P(CodecKernelTest, ZeroBytesAreNothing) {
  const auto codec = Codec::For({4, 2}, GetParam());
  const StripsForTest row(6, 64);
  codec->Encode(row.first(4), row.from(4), 0);
  codec->Reconstruct(row.all(), 0b111100, 0b000011, 0);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_TRUE(std::ranges::all_of(row.strip(i), [](std::byte b) { return b == std::byte{0}; }));
  }
}

std::string KernelTestName(const testing::TestParamInfo<Kernel>& info) {
  std::string name(KernelName(info.param));
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Kernels, CodecKernelTest, ::testing::ValuesIn(kKernels), KernelTestName);

RC_GTEST_PROP(CodecProperty, KernelsAgreeAndRebuild, ()) {
  const auto data = *rc::gen::inRange<std::uint8_t>(1, 21);
  const auto parity = *rc::gen::inRange<std::uint8_t>(1, 13);
  const auto bytes = 64 * *rc::gen::element<std::size_t>(1, 2, 3, 4, 5, 7, 16, 63, 1024, 4096);
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  const Code code = {data, std::min<std::uint8_t>(parity, 32 - data)};
  const StripsForTest expected = EncodedRow(*Codec::For(code, Kernel::kIsal), bytes, seed);
  std::uint64_t lost = 0;
  Random random(seed);
  while (std::popcount(lost) < int{code.parity}) lost |= 1ULL << random.Below(code.width());
  for (const Kernel kernel : kKernels) {
    if (!KernelSupported(kernel)) continue;
    const auto codec = Codec::For(code, kernel);
    const StripsForTest row = EncodedRow(*codec, bytes, seed);
    for (std::size_t i = 0; i < code.width(); ++i) RC_ASSERT(SameStrip(row, expected, i));
    ExpectRebuilds(*codec, expected, lost, lost & random());
    RC_ASSERT(!::testing::Test::HasFatalFailure());
  }
}

TEST(Codec, ReplicationCopiesTheDataStrip) {
  const auto row = EncodedRow(*Codec::For({1, 4}), 4096, 5);
  for (std::size_t i = 1; i < 5; ++i) {
    EXPECT_TRUE(std::ranges::equal(row.strip(i), row.strip(0)));
  }
}

TEST(Codec, FirstParityIsTheXorOfTheData) {
  const auto row = EncodedRow(*Codec::For({10, 2}), 256, 6);
  for (std::size_t at = 0; at < 256; ++at) {
    std::byte sum{0};
    for (std::size_t i = 0; i < 10; ++i) sum ^= row.strip(i)[at];
    ASSERT_EQ(row.strip(10)[at], sum);
  }
}

// A read that asks more than d strips decodes from the first d that it names.
TEST(Codec, TouchesOnlyTheFirstStripsThatSuffice) {
  const auto codec = Codec::For({4, 3});
  const auto original = EncodedRow(*codec, 128, 7);
  StripsForTest row(7, 128);
  for (std::size_t i : {1U, 2U, 3U, 4U}) std::ranges::copy(original.strip(i), row.strip(i).begin());
  std::vector<std::byte*> pointers(row.all().begin(), row.all().end());
  pointers[5] = pointers[6] = nullptr;
  codec->Reconstruct(pointers, 0b1111110, 0b0000001, 128);
  EXPECT_TRUE(SameStrip(row, original, 0));
}

TEST(Codec, IsSharedByCodeAndKernel) {
  EXPECT_EQ(Codec::For({10, 2}), Codec::For({10, 2}));
  EXPECT_NE(Codec::For({10, 2}), Codec::For({10, 1}));
  EXPECT_EQ(Codec::For({10, 2})->kernel(), ResolveKernel(Kernel::kAuto));
  EXPECT_EQ(Codec::For({10, 2}, Kernel::kIsal)->kernel(), Kernel::kIsal);
}

// More patterns than the cache of matrices holds, from several threads at once.
TEST(Codec, ThreadsShareACodecWhileItsCacheOverflows) {
  const Code code = {10, 4};
  const auto original = EncodedRow(*Codec::For(code), 64, 8);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const auto codec = Codec::For(code);
      StripsForTest row(code.width(), 64);
      ForEachLossForTest(code, [&](std::uint64_t lost) {
        for (std::size_t i = 0; i < code.width(); ++i) {
          std::ranges::copy(original.strip(i), row.strip(i).begin());
          if (lost >> i & 1) std::ranges::fill(row.strip(i), std::byte{0});
        }
        codec->Reconstruct(row.all(), AllStrips(code) & ~lost, lost, 64);
        for (std::size_t i = 0; i < code.width(); ++i) wrong += SameStrip(row, original, i) ? 0 : 1;
      });
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(CodecDeathTest, RefusesWhatItsContractForbids) {
  const auto codec = Codec::For({2, 1});
  const StripsForTest row(3, 128);
  EXPECT_DEATH(codec->Encode(row.first(2), row.from(2), 100), "100 bytes");
  EXPECT_DEATH(codec->Encode(row.first(1), row.from(2), 64), "1 data strips for 2\\+1");
  EXPECT_DEATH(codec->Encode(row.first(2), row.from(1), 64), "2 parity strips for 2\\+1");
  EXPECT_DEATH(codec->Reconstruct(row.all(), 0b001, 0b110, 64), "present 1");
  EXPECT_DEATH(codec->Reconstruct(row.all(), 0b011, 0b111, 64), "present 11 wanted 111");
  EXPECT_DEATH(codec->Reconstruct(row.all(), 0b011, 0b1000, 64), "wanted 1000");
  std::vector<std::byte*> odd(row.all().begin(), row.all().end());
  odd[1] += 8;
  EXPECT_DEATH(codec->Reconstruct(odd, 0b011, 0b100, 64), "strip 1 at");
  EXPECT_DEATH(Codec::For({0, 1}), "code 0\\+1");
}

}  // namespace
}  // namespace infinicache::coding
