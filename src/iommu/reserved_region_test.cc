#include "iommu/reserved_region.h"

#include <gtest/gtest.h>

namespace causeway::iommu {
namespace {

using Kind = ReservedRegion::Kind;

TEST(ReservedRegion, OneKindMergesWhereItOverlapsOrTouches) {
  auto merged = merge_regions({{Iova{0x3000}, Iova{0x3fff}, Kind::kReserved},
                               {Iova{0x1000}, Iova{0x2fff}, Kind::kReserved},
                               {Iova{0x1800}, Iova{0x1fff}, Kind::kReserved},
                               {Iova{0x5000}, Iova{0x5fff}, Kind::kReserved}});
  EXPECT_EQ(describe_regions(merged),
            "0x0000000000001000 0x0000000000003fff reserved\n"
            "0x0000000000005000 0x0000000000005fff reserved\n");
}

TEST(ReservedRegion, DifferentKindsStayApartAndComeByStart) {
  auto merged = merge_regions({{Iova{0xfee00000}, Iova{0xfeefffff}, Kind::kMsi},
                               {Iova{0x1000}, Iova{0x1fff}, Kind::kReserved},
                               {Iova{0x1000}, Iova{0x2fff}, Kind::kDirect},
                               {Iova{0x8000000}, Iova{0x80fffff}, Kind::kSoftwareMsi},
                               {Iova{0x2000}, Iova{0x2fff}, Kind::kDirectRelaxable}});
  EXPECT_EQ(describe_regions(merged),
            "0x0000000000001000 0x0000000000002fff direct\n"
            "0x0000000000001000 0x0000000000001fff reserved\n"
            "0x0000000000002000 0x0000000000002fff direct-relaxable\n"
            "0x0000000008000000 0x00000000080fffff msi\n"
            "0x00000000fee00000 0x00000000feefffff msi\n");
}

TEST(ReservedRegion, TheEndsOfTheSpaceDoNotWrap) {
  auto merged = merge_regions({{Iova{0}, Iova{0xfff}, Kind::kReserved},
                               {Iova{~uint64_t{0} - 0xfff}, Iova{~uint64_t{0}}, Kind::kReserved},
                               {Iova{0}, Iova{~uint64_t{0}}, Kind::kReserved}});
  ASSERT_EQ(merged.size(), 1u);
  EXPECT_EQ(merged[0].end, Iova{~uint64_t{0}});
  EXPECT_EQ(merge_regions({{Iova{0}, Iova{0}, Kind::kReserved}, {Iova{2}, Iova{2}, Kind::kReserved}}).size(), 2u);
}

}  // namespace
}  // namespace causeway::iommu
