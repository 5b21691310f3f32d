#include "kho/radix_tree.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <thread>

#include "base/log.h"
#include "base/point.h"
#include "kho/testing/buffer_memory.h"

namespace causeway::kho {
namespace {

uint64_t key_of(uint64_t phys, unsigned order) {
  return encode_key({Pfn::containing(PhysAddr(phys)), Order(order)}, Format::kV4);
}

class Radix : public ::testing::Test {
 protected:
  std::vector<uint64_t> keys() const {
    std::vector<uint64_t> found;
    EXPECT_TRUE(tree_->walk([&](uint64_t key) { return found.push_back(key), Status{}; }).has_value());
    return found;
  }
  BufferMemory memory_{MiB(4)};
  std::unique_ptr<RadixTree> tree_ = *RadixTree::create(memory_, Format::kV4);
};

TEST_F(Radix, AnEmptyTreeIsOneRoot) {
  EXPECT_EQ(tree_->nodes(), 1u);
  EXPECT_EQ(tree_->size(), 0u);
  EXPECT_NE(tree_->root(), PhysAddr(0));
  EXPECT_TRUE(keys().empty());
}

TEST_F(Radix, TheFirstKeyMakesSixPages) {
  ASSERT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
  EXPECT_EQ(tree_->nodes(), 6u);
  EXPECT_EQ(memory_.allocated(), 6u);
  // All orders from 2 up share the node under root[0].
  ASSERT_TRUE(tree_->add(key_of(0x200000, 9)).has_value());
  EXPECT_EQ(tree_->nodes(), 11u);
  ASSERT_TRUE(tree_->add(key_of(0x400000, 10)).has_value());
  EXPECT_EQ(tree_->nodes(), 15u);
}

TEST_F(Radix, LayoutIsTheSpecifications) {
  ASSERT_TRUE(tree_->add(key_of(0x101000, 0)).has_value());
  uint64_t page = tree_->root().value();
  const unsigned path[] = {2, 0, 0, 0, 0};
  for (unsigned index : path) {
    for (unsigned i = 0; i < abi::kTableEntries; ++i)
      EXPECT_EQ(memory_.as<abi::RadixNode>(page).child[i] != 0, i == index);
    page = memory_.as<abi::RadixNode>(page).child[index];
  }
  EXPECT_EQ(memory_.byte(page + 0x020), 1u << 1);
}

TEST_F(Radix, AddIsIdempotent) {
  EXPECT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
  EXPECT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
  EXPECT_EQ(tree_->size(), 1u);
  EXPECT_TRUE(tree_->remove(key_of(0x7000, 0)));
  EXPECT_FALSE(tree_->contains(key_of(0x7000, 0)));
}

TEST_F(Radix, KeyWiderThan53BitsIsErange) {
  EXPECT_EQ(tree_->add(uint64_t{1} << 53).error().code, Errno{ERANGE});
  EXPECT_EQ(tree_->add(uint64_t{1} << 63 | key_of(0x7000, 0)).error().code, Errno{ERANGE});
  EXPECT_EQ(tree_->nodes(), 1u);
  EXPECT_FALSE(tree_->contains(uint64_t{1} << 63 | key_of(0x7000, 0)));
}

TEST_F(Radix, WalkAscendsLargerOrdersFirst) {
  const std::vector<uint64_t> ascending = {key_of(0x40000000, 18), key_of(0x400000, 10), key_of(0x200000, 9),
                                           key_of(0x7000, 0), key_of(0x101000, 0)};
  for (size_t i : {3u, 0u, 4u, 2u, 1u}) ASSERT_TRUE(tree_->add(ascending[i]).has_value());
  EXPECT_EQ(keys(), ascending);
}

TEST_F(Radix, WalkStopsAtTheFirstError) {
  ASSERT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
  ASSERT_TRUE(tree_->add(key_of(0x8000, 0)).has_value());
  int seen = 0;
  Status walked = tree_->walk([&](uint64_t) -> Status { return ++seen, fail(EIO, "enough"); });
  EXPECT_EQ(walked.error().code, Errno{EIO});
  EXPECT_EQ(seen, 1);
}

TEST_F(Radix, WalkShowsEveryNodePage) {
  ASSERT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
  ASSERT_TRUE(tree_->add(key_of(0x200000, 9)).has_value());
  std::set<PhysAddr> nodes;
  ASSERT_TRUE(tree_
                  ->walk([](uint64_t) { return Status{}; },
                         [&](PhysAddr node) { return nodes.insert(node), Status{}; })
                  .has_value());
  EXPECT_EQ(nodes.size(), tree_->nodes());
  EXPECT_TRUE(nodes.contains(tree_->root()));
}

TEST_F(Radix, RemoveKeepsNodes) {
  ASSERT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
  EXPECT_TRUE(tree_->remove(key_of(0x7000, 0)));
  EXPECT_EQ(tree_->nodes(), 6u);
  EXPECT_EQ(tree_->size(), 0u);
}

TEST_F(Radix, RemovingWithoutAPathWarnsWithoutABitIsSilent) {
  log::Capture capture;
  EXPECT_FALSE(tree_->remove(key_of(0x7000, 0)));
  EXPECT_EQ(capture.lines().size(), 1u);
  ASSERT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
  EXPECT_FALSE(tree_->remove(key_of(0x8000, 0)));
  EXPECT_EQ(capture.lines().size(), 1u);
}

TEST_F(Radix, OutOfMemoryAtAnyNodeLeavesNothingBehind) {
  for (int n = 0; n < 5; ++n) {
    memory_.fail_after(n);
    EXPECT_EQ(tree_->add(key_of(0x7000, 0)).error().code, Errno{ENOMEM});
    EXPECT_EQ(memory_.allocated(), 1u) << n;
    EXPECT_EQ(tree_->nodes(), 1u);
    EXPECT_TRUE(keys().empty());
  }
  memory_.fail_after(-1);
  EXPECT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
}

TEST_F(Radix, AddAllIsAllOrNothingAndKeepsWhatWasThere) {
  ASSERT_TRUE(tree_->add(key_of(0x8000, 0)).has_value());
  const uint64_t batch[] = {key_of(0x7000, 0), key_of(0x8000, 0), key_of(0x9000, 0), key_of(0x200000, 9)};
  memory_.fail_after(2);
  EXPECT_EQ(tree_->add_all(batch).error().code, Errno{ENOMEM});
  EXPECT_EQ(keys(), std::vector{key_of(0x8000, 0)});
  memory_.fail_after(-1);
  EXPECT_TRUE(tree_->add_all(batch).has_value());
  EXPECT_EQ(tree_->size(), 4u);
}

TEST_F(Radix, DestroyFreesEveryPage) {
  ASSERT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
  ASSERT_TRUE(tree_->add(key_of(0x40000000, 18)).has_value());
  tree_->destroy();
  EXPECT_EQ(memory_.allocated(), 0u);
  EXPECT_EQ(tree_->add(key_of(0x7000, 0)).error().code, Errno{EINVAL});
  tree_->destroy();
}

TEST_F(Radix, ForgettingTheTreeLeavesItsPages) {
  ASSERT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
  tree_.reset();
  EXPECT_EQ(memory_.allocated(), 6u);
}

TEST_F(Radix, ReplaceIsOneStepForAReader) {
  const uint64_t keep = key_of(0x7000, 0), out = key_of(0x200000, 9), in = key_of(0x101000, 0);
  ASSERT_TRUE(tree_->add(keep).has_value());
  ASSERT_TRUE(tree_->add(out).has_value());
  const PhysAddr old_root = tree_->root();
  const uint64_t nodes = memory_.allocated();
  {
    RadixTree::Writer writer(*tree_);
    ASSERT_TRUE(writer
                    .replace(std::vector{out}, std::vector{in},
                             [&](PhysAddr root) -> Status {
                               EXPECT_NE(root, old_root);
                               // The old version is still whole while the new one is being published.
                               EXPECT_TRUE(writer.contains(out));
                               EXPECT_FALSE(writer.contains(in));
                               return {};
                             })
                    .has_value());
  }
  EXPECT_EQ(keys(), (std::vector{keep, in}));
  EXPECT_EQ(tree_->size(), 2u);
  EXPECT_EQ(memory_.allocated(), nodes);
  EXPECT_EQ(tree_->nodes(), nodes);
}

TEST_F(Radix, ReplaceThatIsNotPublishedLeavesTheTreeAsItWas) {
  ASSERT_TRUE(tree_->add(key_of(0x7000, 0)).has_value());
  const PhysAddr root = tree_->root();
  RadixTree::Writer writer(*tree_);
  const std::vector out{key_of(0x7000, 0)}, in{key_of(0x200000, 9)};
  EXPECT_EQ(writer.replace(out, in, [](PhysAddr) -> Status { return fail(EIO, "no"); }).error().code,
            Errno{EIO});
  EXPECT_EQ(memory_.allocated(), 6u);
  for (int n = 0; n < 10; ++n) {
    memory_.fail_after(n);
    EXPECT_EQ(writer.replace(out, in, [](PhysAddr) { return Status{}; }).error().code, Errno{ENOMEM}) << n;
    EXPECT_EQ(memory_.allocated(), 6u);
  }
  EXPECT_TRUE(writer.contains(key_of(0x7000, 0)));
  EXPECT_EQ(memory_.word(root.value() + 2 * 8) != 0, true);
}

TEST_F(Radix, BehavesAsASetOfIntegers) {
  std::mt19937_64 random(7);
  std::set<uint64_t> model;
  for (int i = 0; i < 20000; ++i) {
    const unsigned order = random() % 3 == 0 ? 0 : static_cast<unsigned>(random() % 12);
    const uint64_t key = key_of((random() % 512) << (12 + order), order);
    if (random() % 3 != 0) {
      ASSERT_TRUE(tree_->add(key).has_value());
      model.insert(key);
    } else {
      log::Capture quiet;
      EXPECT_EQ(tree_->remove(key), model.erase(key) == 1);
    }
  }
  EXPECT_EQ(keys(), std::vector<uint64_t>(model.begin(), model.end()));
  EXPECT_EQ(tree_->size(), model.size());
}

TEST_F(Radix, ThreadsAddAndRemoveTogether) {
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 2000; ++i) EXPECT_TRUE(tree_->add(key_of((i * 4 + t) << 12, 0)).has_value());
      for (uint64_t i = 0; i < 2000; i += 2) EXPECT_TRUE(tree_->remove(key_of((i * 4 + t) << 12, 0)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(tree_->size(), 4000u);
}

#if CW_POINTS
TEST_F(Radix, ALinkedNodeIsAlwaysComplete) {
  // Whenever a new node is about to become visible, a reader sees the old tree; afterwards the key.
  const uint64_t first = key_of(0x7000, 0), second = key_of(0x200000, 9);
  ASSERT_TRUE(tree_->add(first).has_value());
  const PhysAddr root = tree_->root();
  int hits = 0;
  auto root_entry = [&] { return memory_.word(root.value()); };
  auto on_hit = [&]() -> Status {
    ++hits;
    EXPECT_EQ(root_entry(), 0u);
    return {};
  };
  ASSERT_TRUE(point::on_hit("kho.radix.before_link", on_hit).has_value());
  ASSERT_TRUE(tree_->add(second).has_value());
  point::disarm_all();
  EXPECT_EQ(hits, 1);
  EXPECT_NE(root_entry(), 0u);
}

TEST_F(Radix, NodeAllocationCanBeMadeToFail) {
  ASSERT_TRUE(point::arm("kho.radix.alloc_node=fail:3").has_value());
  EXPECT_EQ(tree_->add(key_of(0x7000, 0)).error().code, Errno{ENOMEM});
  point::disarm_all();
  EXPECT_EQ(memory_.allocated(), 1u);
}
#endif

}  // namespace
}  // namespace causeway::kho
