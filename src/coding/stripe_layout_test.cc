#include "coding/stripe_layout.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <numeric>
#include <vector>

namespace infinicache::coding {
namespace {

// Cuts an object byte by byte, as the words of the header say, and remembers for each byte where
// it went.
struct NaiveLayout {
  struct Row {
    std::uint64_t offset;
    std::uint64_t unit;
    std::vector<std::vector<std::uint64_t>> data;  // per data strip, the object offsets it holds
  };

  NaiveLayout(std::uint64_t object_bytes, Code code, std::uint64_t strip_bytes) {
    std::uint64_t next = 0;
    while (next < object_bytes) {
      const std::uint64_t rest = object_bytes - next;
      std::uint64_t unit = strip_bytes;
      if (rest < code.data * strip_bytes) {
        unit = 0;
        while (unit * code.data < rest) unit += 64;
      }
      Row row = {next, unit, {}};
      for (std::size_t i = 0; i < code.data; ++i) {
        row.data.emplace_back();
        while (row.data.back().size() < unit && next < object_bytes) {
          row.data.back().push_back(next++);
        }
      }
      rows.push_back(row);
    }
  }

  std::vector<Row> rows;
};

void ExpectMatchesNaive(const StripeLayout& layout) {
  const Code code = layout.code;
  const NaiveLayout naive(layout.object_bytes, code, layout.strip_bytes);
  ASSERT_EQ(layout.rows(), naive.rows.size());
  std::vector<std::uint64_t> chunk_bytes(code.width());
  std::uint64_t next = 0;  // concatenating the data strips row by row gives the object
  for (std::uint64_t r = 0; r < layout.rows(); ++r) {
    const auto& row = naive.rows[r];
    ASSERT_EQ(layout.RowOffset(r), row.offset);
    ASSERT_EQ(layout.StripUnit(r), row.unit);
    ASSERT_LE(layout.StripUnit(r), layout.strip_bytes);
    std::uint64_t row_bytes = 0;
    for (std::size_t i = 0; i < code.data; ++i) {
      ASSERT_EQ(layout.StripBytes(r, i), row.data[i].size()) << "row " << r << " strip " << i;
      for (const std::uint64_t offset : row.data[i]) {
        ASSERT_EQ(offset, next++);
        ASSERT_EQ(layout.RowOfOffset(offset), r);
        ASSERT_EQ(offset - layout.RowOffset(r), i * row.unit + (offset - row.data[i].front()));
      }
      row_bytes += row.data[i].size();
    }
    ASSERT_EQ(layout.RowBytes(r), row_bytes);
    for (std::size_t i = 0; i < code.width(); ++i) {
      if (i >= code.data) {
        ASSERT_EQ(layout.StripBytes(r, i), row.unit);
      }
      if (layout.StripBytes(r, i) > 0) {
        ASSERT_EQ(layout.ChunkOffset(r), chunk_bytes[i]);
      }
      chunk_bytes[i] += layout.StripBytes(r, i);
    }
  }
  ASSERT_EQ(next, layout.object_bytes);
  for (std::size_t i = 0; i < code.width(); ++i) ASSERT_EQ(layout.ChunkBytes(i), chunk_bytes[i]);
  ASSERT_EQ(layout.StoredBytes(),
            std::accumulate(chunk_bytes.begin(), chunk_bytes.end(), std::uint64_t{0}));
}

TEST(StripeLayout, EverySizeOfTailMatchesTheNaiveCut) {
  for (const Code code : {Code{1, 0}, Code{1, 2}, Code{3, 2}, Code{10, 2}}) {
    constexpr std::uint32_t kStrip = 128;
    for (std::uint64_t bytes = 0; bytes <= 3 * kStrip * code.data + 1; ++bytes) {
      ASSERT_NO_FATAL_FAILURE(ExpectMatchesNaive(StripeLayout::For(bytes, code, kStrip)))
          << code.ToString() << ", " << bytes << " bytes";
    }
  }
}

RC_GTEST_PROP(StripeLayoutProperty, MatchesTheNaiveCut, ()) {
  const auto data = *rc::gen::inRange<std::uint8_t>(1, 21);
  const auto parity = *rc::gen::inRange<std::uint8_t>(0, 9);
  const auto strip = *rc::gen::inRange<std::uint32_t>(1, 33) * 64;
  const auto bytes = *rc::gen::inRange<std::uint64_t>(0, 5 * std::uint64_t{data} * strip + 2);
  ExpectMatchesNaive(StripeLayout::For(bytes, {data, parity}, strip));
  RC_ASSERT(!::testing::Test::HasFatalFailure());
}

TEST(StripeLayout, AnEmptyObjectHasNoRowsAndEmptyChunks) {
  const auto layout = StripeLayout::For(0, {10, 2});
  EXPECT_EQ(layout.rows(), 0U);
  EXPECT_EQ(layout.StoredBytes(), 0U);
  for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(layout.ChunkBytes(i), 0U);
}

TEST(StripeLayout, ACodeWithoutParityStoresTheObjectOnce) {
  EXPECT_EQ(StripeLayout::For(12345, {3, 0}).StoredBytes(), 12345U);
}

TEST(StripeLayout, LargeObjectsDoNotOverflow) {
  constexpr std::uint64_t kBytes = StripeLayout::kObjectBytesMax - 1;
  const auto layout = StripeLayout::For(kBytes, {10, 2});
  const std::uint64_t last = layout.rows() - 1;
  EXPECT_EQ(layout.RowOffset(last) + layout.RowBytes(last), kBytes);
  EXPECT_EQ(layout.RowOfOffset(kBytes - 1), last);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < 12; ++i) sum += layout.ChunkBytes(i);
  EXPECT_EQ(layout.StoredBytes(), sum);
}

TEST(StripeLayoutDeathTest, RefusesImpossibleGeometry) {
  EXPECT_DEATH(StripeLayout::For(1, {0, 2}), "code 0\\+2");
  EXPECT_DEATH(StripeLayout::For(1, {10, 2}, 0), "strip of 0 bytes");
  EXPECT_DEATH(StripeLayout::For(1, {10, 2}, 100), "strip of 100 bytes");
  EXPECT_DEATH(StripeLayout::For(StripeLayout::kObjectBytesMax + 1, {10, 2}), "object of");
}

}  // namespace
}  // namespace infinicache::coding
