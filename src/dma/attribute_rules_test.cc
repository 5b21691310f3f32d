#include "dma/attribute_rules.h"

#include <gtest/gtest.h>

namespace causeway::dma {
namespace {

TEST(AttributeRules, HintsAreNotCanonical) {
  Attr hints = Attr::kNoWarn | Attr::kWeakOrdering | Attr::kSkipCpuSync | Attr::kAllocSinglePages |
               Attr::kDebuggingIgnoreCachelines;
  EXPECT_EQ(canonical_attrs(hints, false), Attr::kNone);
  EXPECT_EQ(canonical_attrs(hints | Attr::kPrivileged, true), Attr::kPrivileged);
}

TEST(AttributeRules, WriteCombineCountsForIncoherentDevicesOnly) {
  EXPECT_EQ(canonical_attrs(Attr::kWriteCombine, false), Attr::kWriteCombine);
  EXPECT_EQ(canonical_attrs(Attr::kWriteCombine, true), Attr::kNone);
}

TEST(AttributeRules, EqualSetsAreCompatible) {
  EXPECT_EQ(incompatibility(Attr::kNone, Attr::kNone), nullptr);
  EXPECT_EQ(incompatibility(Attr::kPrivileged, Attr::kPrivileged), nullptr);
}

TEST(AttributeRules, EveryCanonicalAttributeMustMatchInBothDirections) {
  for (Attr attr : {Attr::kNoKernelMapping, Attr::kWriteCombine, Attr::kPrivileged, Attr::kForceContiguous,
                    Attr::kCcShared, Attr::kAllocCcShared}) {
    EXPECT_NE(incompatibility(Attr::kNone, attr), nullptr);
    EXPECT_NE(incompatibility(attr, Attr::kNone), nullptr);
  }
}

TEST(AttributeRules, RecordedBitsNobodyKnowsAreIncompatible) {
  EXPECT_NE(incompatibility(Attr{uint64_t{1} << 60}, Attr::kNone), nullptr);
}

}  // namespace
}  // namespace causeway::dma
