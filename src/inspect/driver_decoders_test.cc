// What Causeway's own drivers hand over.
#include <gtest/gtest.h>

#include "inspect/testing/decoding.h"
#include "inspect/testing/driver_example.h"

namespace causeway::inspect {
namespace {

const Subtree* find(const Report& report, std::string_view name) {
  for (const Subtree& subtree : report.subtrees)
    if (subtree.name == name) return &subtree;
  return nullptr;
}
uint64_t value(const std::vector<Item>& items, std::string_view name) {
  for (const Item& item : items)
    if (item.name == name) return std::get<uint64_t>(item.value);
  ADD_FAILURE() << name;
  return 0;
}

TEST(DriverDecoders, AWholeHandoverIsDecodedInBothFormats) {
  for (kho::Format format : {kho::Format::kV4, kho::Format::kTyped}) {
    Decoded decoded(DriverExample(format).core());
    EXPECT_EQ(decoded.report.findings.problems(), 0u) << decoded.rules();
    const Subtree* engine = find(decoded.report, "dma-engine-00:01.0");
    ASSERT_NE(engine, nullptr);
    EXPECT_EQ(engine->format, "causeway,dma-engine-v1");
    EXPECT_EQ(value(engine->fields, "buffers"), 2u);
    ASSERT_EQ(engine->fields.back().name, "counters");
    EXPECT_EQ(value(engine->fields.back().children, "consumed"), 99u) << "of the current slot";
    EXPECT_EQ(value(find(decoded.report, "allocation-pool")->fields, "records"), 3u);
    const Subtree* memblock = find(decoded.report, "memblock");
    ASSERT_EQ(memblock->fields.size(), 1u);
    EXPECT_EQ(value(memblock->fields[0].children, "start"), DriverExample::kRegion);
  }
}

TEST(DriverDecoders, ADamagedRecordIsFoundByItsChecksum) {
  DriverExample image;
  image.put(DriverExample::kRecords + 64 + 48, uint64_t{1});
  EXPECT_NE(Decoded(image.core()).text("dma.record").find("checksum"), std::string::npos);
}

TEST(DriverDecoders, ARecordWhoseMemoryIsNotOneBlockIsFound) {
  DriverExample image;
  const auto record = image.get<dma::abi::AllocRecord>(DriverExample::kRecords + 64);
  image.unpreserve(record.page_phys, record.order);
  for (uint64_t i = 0; i < 2; ++i) image.preserve(record.page_phys + i * kPageSize, 0);
  EXPECT_NE(Decoded(image.core()).text("dma.record").find("one block"), std::string::npos);
}

TEST(DriverDecoders, ATokenThatIsNoRecordsAddressIsFound) {
  for (uint64_t token : {DriverExample::kRecords, DriverExample::kRecords + 65, uint64_t{0}}) {
    DriverExample image;
    image.put(DriverExample::kTokens + 16, token);
    EXPECT_TRUE(Decoded(image.core()).found("dma.token")) << token;
  }
}

TEST(DriverDecoders, CountsThatDisagreeAreFound) {
  DriverExample image;
  image.put(DriverExample::kBuffers, kho::abi::BlockHeader{0, 1});
  image.put(DriverExample::kTokens, kho::abi::BlockHeader{0, 2});
  image.put(DriverExample::kLive, uint64_t{2});
  Decoded decoded(image.core());
  EXPECT_TRUE(decoded.found("dma-engine.buffer-count")) << decoded.rules();
  EXPECT_TRUE(decoded.found("pool.count"));
  EXPECT_TRUE(decoded.found("dma-engine.current"));
}

TEST(DriverDecoders, AnotherVersionOfOurOwnIsAWarning) {
  DriverExample image;
  image.text(DriverExample::kEngine, "causeway,dma-engine-v2");
  EXPECT_NE(Decoded(image.core()).text("subtree.compatible").find("dma-engine-v2"), std::string::npos);
}

TEST(DriverDecoders, ARegionThatIsNotPreservedIsLost) {
  DriverExample image;
  image.unpreserve(DriverExample::kRegion, 1);
  EXPECT_NE(Decoded(image.core()).text("image.not-preserved").find("reserve_mem"), std::string::npos);
}

}  // namespace
}  // namespace causeway::inspect
