#include "dma/page_attributes.h"

#include <gtest/gtest.h>

#include "base/point.h"

namespace causeway::dma {
namespace {

constexpr PfnRange kRange{Pfn{16}, Pfn{20}};

TEST(PageAttributes, PagesStartEncryptedAndCached) {
  PageAttributes attributes;
  EXPECT_FALSE(attributes.is_decrypted(Pfn{16}));
  EXPECT_EQ(attributes.policy(Pfn{16}), CachePolicy::kCached);
  EXPECT_EQ(attributes.changed_pages(), 0u);
}

TEST(PageAttributes, ARangeIsDecryptedToItsEndAndNotBeyond) {
  PageAttributes attributes;
  ASSERT_TRUE(attributes.set_decrypted(kRange));
  EXPECT_FALSE(attributes.is_decrypted(Pfn{15}));
  EXPECT_TRUE(attributes.is_decrypted(Pfn{16}));
  EXPECT_TRUE(attributes.is_decrypted(Pfn{19}));
  EXPECT_FALSE(attributes.is_decrypted(Pfn{20}));
  EXPECT_EQ(attributes.changed_pages(), 4u);
}

TEST(PageAttributes, OnlyPagesThatDifferAreStored) {
  PageAttributes attributes;
  ASSERT_TRUE(attributes.set_decrypted(kRange));
  ASSERT_TRUE(attributes.set_policy(kRange, CachePolicy::kUncached));
  ASSERT_TRUE(attributes.set_encrypted(kRange));
  EXPECT_EQ(attributes.changed_pages(), 4u);
  attributes.mark_policy(kRange, CachePolicy::kCached);
  EXPECT_EQ(attributes.changed_pages(), 0u);
}

TEST(PageAttributes, CleaningIsCounted) {
  PageAttributes attributes;
  attributes.clean_cache(kRange);
  attributes.clean_cache(kRange);
  EXPECT_EQ(attributes.cleaned_pages(), 8u);
}

TEST(PageAttributes, ARefusedDecryptionChangesNothing) {
  if (point::list().empty()) GTEST_SKIP() << "built without named points";
  PageAttributes attributes;
  ASSERT_TRUE(point::on_hit("dma.attributes.decrypt", []() -> Status { return fail(EIO, "refused"); }));
  EXPECT_FALSE(attributes.set_decrypted(kRange));
  point::disarm_all();
  EXPECT_EQ(attributes.changed_pages(), 0u);
}

}  // namespace
}  // namespace causeway::dma
