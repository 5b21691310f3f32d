// Every format in every configuration that the kernel's tests know.
//
//   template <typename T> class PageTableTest : public testing::Test {};
//   TYPED_TEST_SUITE(PageTableTest, Configurations);
//   auto table = must(TypeParam::make(memory.pages));
#pragma once

#include <gtest/gtest.h>

#include "iommu/pt/amdv1.h"
#include "iommu/pt/vtdss.h"
#include "iommu/pt/x86_64.h"

namespace causeway::iommu {

template <typename F, auto kMake, unsigned kVasz, uint32_t kFeatures, unsigned kStart = 0>
struct Configuration {
  using Format = F;
  static constexpr unsigned kVaszLg2 = kVasz;
  static constexpr bool kSigned = (kFeatures & kSignExtend) != 0;
  static constexpr bool kGrows = (kFeatures & kDynamicTop) != 0;
  static PageTableOptions options(IommuPages& pages) {
    return {.pages = pages, .max_vasz_lg2 = kVasz, .max_oasz_lg2 = F::kMaxOaLg2, .features = kFeatures,
            .starting_level = kStart};
  }
  static Result<std::unique_ptr<IoPageTable>> make(const PageTableOptions& options) { return kMake(options); }
  static Result<std::unique_ptr<IoPageTable>> make(IommuPages& pages) { return kMake(options(pages)); }
};

using Configurations = ::testing::Types<Configuration<pt::Amdv1, make_amdv1, 64, kDynamicTop | kFullVa, 2>,
                                        Configuration<pt::Amdv1, make_amdv1, 48, kFlushRangeNoGaps, 3>,
                                        Configuration<pt::Amdv1Mock, make_amdv1_mock, 38, 0, 2>,
                                        Configuration<pt::Vtdss, make_vtdss, 39, 0>,
                                        Configuration<pt::Vtdss, make_vtdss, 48, kFlushRange>,
                                        Configuration<pt::Vtdss, make_vtdss, 57, kForceCoherence | kDmaIncoherent>,
                                        Configuration<pt::X86_64, make_x86_64, 48, kSignExtend>,
                                        Configuration<pt::X86_64, make_x86_64, 57, kSignExtend | kFlushRangeNoGaps>,
                                        Configuration<pt::X86_64, make_x86_64, 47, 0>,
                                        Configuration<pt::X86_64, make_x86_64, 56, kDmaIncoherent>>;

}  // namespace causeway::iommu
