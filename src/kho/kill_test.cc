// The promise of the standing handover: a kernel that dies at any instant leaves a handover that the next
// one can use, the old one or the new one, with everything in it intact.
//
// Each case boots a second generation in a forked process, kills that at one named point, and boots a
// third on the same memory.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstdlib>
#include <map>
#include <set>

#include "base/log.h"
#include "base/point.h"
#include "kho/block_set.h"
#include "kho/testing/test_machine.h"

#if CW_POINTS
namespace causeway::kho {
namespace {

constexpr char kName[] = "state";
constexpr uint64_t kEntries = 700;       // two blocks
constexpr uint64_t kVmallocPages = 520;  // two chunks

// Part of all contents, another one in every case: memory is used again without being cleared, and what
// an earlier case has left there must not pass for what was handed over.
uint64_t g_salt = 0;

// What a generation hands over.
struct State {
  uint64_t generation;
  uint64_t blocks;
  uint64_t unsplit;  // order 3
  uint64_t run;      // 5 pages, each counted
  abi::VmallocDescriptor vmalloc;
};

bool build(TestMachine& machine, Generation& now, uint64_t number) {
  auto make = [&]() -> Status {
    auto* state = static_cast<State*>(CW_TRY(now.kho->alloc_preserve(sizeof(State))));
    state->generation = number;
    BlockSet blocks = CW_TRY(BlockSet::create(*now.kho, sizeof(uint64_t)));
    CW_TRY(blocks.grow(kEntries));
    for (uint64_t i = 0; i < kEntries; ++i) *blocks.reserve<uint64_t>() = i * 3 + g_salt;
    state->blocks = blocks.head().value();

    mm::Page* unsplit = CW_TRY(now.allocator->alloc_pages(Order(3), mm::kGfpKernel));
    fill(machine, now.map.phys(unsplit), 8, g_salt + 11);
    CW_TRY(now.kho->preserve_pages(unsplit, 8));
    state->unsplit = now.map.phys(unsplit).value();

    mm::Page* run = CW_TRY(now.allocator->alloc_contig(5, 4, mm::kGfpKernel));
    fill(machine, now.map.phys(run), 5, g_salt + 12);
    CW_TRY(now.kho->preserve_pages(run, 5));
    state->run = now.map.phys(run).value();

    const mm::VmArea* area = CW_TRY(now.vmalloc->alloc(kVmallocPages * kPageSize, mm::kGfpKernel));
    for (uint64_t i = 0; i < kVmallocPages; ++i)
      reinterpret_cast<uint64_t*>(area->address + i * kPageSize)[0] = i * 5 + g_salt;
    state->vmalloc = CW_TRY(now.kho->preserve_vmalloc(area->address));
    return now.kho->add_subtree(kName, state, sizeof(State));
  };
  Status made = make();
  if (!made.has_value()) fprintf(stderr, "build: %s\n", to_string(made.error()).c_str());
  return made.has_value();
}

// Restores all of it, checks every byte, and gives it back. 0: something is missing or damaged.
uint64_t take(TestMachine& machine, Generation& now) {
  auto takes = [&]() -> Result<uint64_t> {
    const Subtree found = CW_TRY(now.kho->retrieve_subtree(kName));
    const State state = *machine.at<State>(found.phys);
    BlockSet blocks = CW_TRY(BlockSet::restore(*now.kho, PhysAddr(state.blocks), sizeof(uint64_t)));
    if (blocks.size() != kEntries) return fail(EIO, "entries are missing");
    for (uint64_t i = 0; i < kEntries; ++i)
      if (*blocks.read<uint64_t>() != i * 3 + g_salt) return fail(EIO, "an entry is damaged");
    blocks.destroy();

    mm::Page* unsplit = now.kho->restore_page(PhysAddr(state.unsplit));
    if (unsplit == nullptr || !is_filled(machine, PhysAddr(state.unsplit), 8, g_salt + 11))
      return fail(EIO, "unsplit block");
    mm::Page* run = now.kho->restore_pages(PhysAddr(state.run), 5);
    if (run == nullptr || !is_filled(machine, PhysAddr(state.run), 5, g_salt + 12))
      return fail(EIO, "run of pages");
    const mm::VmArea* area = CW_TRY(now.kho->restore_vmalloc(state.vmalloc));
    for (uint64_t i = 0; i < kVmallocPages; ++i)
      if (reinterpret_cast<uint64_t*>(area->address + i * kPageSize)[0] != i * 5 + g_salt)
        return fail(EIO, "vmalloc area");

    now.kho->restore_free(machine.at<void>(found.phys));
    // The owners' own pages: the old handover still names them.
    now.kho->after_commit([&now, unsplit, run, area] {
      now.allocator->free_pages(unsplit, Order(3));
      now.allocator->free_contig(run, 5);
      now.vmalloc->free(area->address);
    });
    return state.generation;
  };
  auto taken = takes();
  if (!taken.has_value()) fprintf(stderr, "take: %s\n", to_string(taken.error()).c_str());
  return taken.value_or(0);
}

// Writes over much of what is free, scratch included.
void scribble(Generation& now) {
  std::vector<mm::Page*> pages;
  for (int i = 0; i < 400; ++i) {
    const mm::Gfp gfp = mm::kGfpKernel | mm::Gfp::kNoWarn | (i % 2 == 0 ? mm::Gfp::kMovable : mm::Gfp::kNone);
    auto page = now.allocator->alloc_pages(Order(i % 3 == 0 ? 1 : 0), gfp);
    if (!page.has_value()) break;
    (*page)->order = static_cast<uint8_t>(i % 3 == 0 ? 1 : 0);
    std::memset(now.map.address(*page), 0xaa, kPageSize);
    pages.push_back(*page);
  }
  for (mm::Page* page : pages) now.allocator->free_pages(page, Order(page->order));
}

// A whole life of a generation: what is killed somewhere on its way. False: it failed on its own account.
bool live(TestMachine& machine, Format format) {
  Generation now(machine, test_params(format));
  if (!now.adopted_handover || !now.initialised.has_value() || take(machine, now) != 1) return false;
  scribble(now);
  if (!build(machine, now, 2)) return false;
  if (!now.kho->commit(now.mailbox, hw::HandoverKind::kStanding, 2).has_value()) return false;
  scribble(now);
  auto work = [&]() -> Status {
    void* late = CW_TRY(now.kho->alloc_preserve(64));
    CW_TRY(now.kho->add_subtree("late", late, 64));
    BlockSet blocks = CW_TRY(BlockSet::create(*now.kho, 64));
    CW_TRY(blocks.grow(200));
    while (blocks.reserve_entry() != nullptr) {
    }
    blocks.shrink(10);
    blocks.destroy();
    mm::Page* block = CW_TRY(now.allocator->alloc_pages(Order(4), mm::kGfpKernel));
    CW_TRY(now.kho->preserve_pages(block, 16));
    if (format == Format::kTyped) {
      CW_TRY(now.allocator->split_page(block, Order(4)));
      CW_TRY(now.kho->split_preserved_pages(block, 16));
    }
    now.kho->unpreserve_pages(block, 16);
    Block single{now.map.pfn(block), kOrder0};
    CW_TRY(now.kho->preserve_blocks(std::span(&single, 1)));
    const mm::VmArea* area = CW_TRY(now.vmalloc->alloc(KiB(64), mm::kGfpKernel));
    const abi::VmallocDescriptor descriptor = CW_TRY(now.kho->preserve_vmalloc(area->address));
    now.kho->unpreserve_vmalloc(descriptor);
    now.kho->remove_subtree(late);
    now.kho->unpreserve_free(late);
    return now.kho->commit(now.mailbox, hw::HandoverKind::kOrderly, 2);
  };
  Status worked = work();
  if (!worked.has_value()) fprintf(stderr, "work: %s\n", to_string(worked.error()).c_str());
  scribble(now);
  return worked.has_value() && !now.allocator->stats().tainted;
}

class Kill : public ::testing::TestWithParam<Format> {
 protected:
  void SetUp() override { log::set_level(log::Level::kWarn); }
  void TearDown() override { log::set_level(log::Level::kInfo); }

  static void first_generation(TestMachine& machine) {
    g_salt += 1000;
    machine.mailbox().erase();
    Generation now(machine, test_params(GetParam()));
    ASSERT_TRUE(build(machine, now, 1));
    now.commit();
  }
  // Runs `live` in a process of its own, with a point armed to kill it.
  static int run_child(TestMachine& machine, const std::string& armed) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (!armed.empty() && !point::arm(armed).has_value()) ::_exit(3);
      log::set_level(log::Level::kWarn);
      ::_exit(live(machine, GetParam()) ? 0 : 2);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }
  static bool was_killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
};

TEST_P(Kill, AtEveryPointOfALifeTheNextKernelFindsEverything) {
  TestMachine machine;
  // How often each point is hit in an undisturbed life.
  std::map<std::string, uint64_t> hits;
  first_generation(machine);
  for (const point::Point* each : point::list())
    ASSERT_TRUE(
        point::on_hit(each->name, [&count = hits[each->name]] { return ++count, Status{}; }).has_value());
  ASSERT_TRUE(live(machine, GetParam()));
  point::disarm_all();

  int points = 0;
  for (const auto& [name, count] : hits) {
    const bool ours = name.starts_with("kho.");
    if (count == 0 || !(ours || name.starts_with("platform.mailbox"))) continue;
    ++points;
    for (uint64_t hit : std::set<uint64_t>{1, count / 2 + 1, count}) {
      const std::string armed = name + "=kill:" + std::to_string(hit);
      first_generation(machine);
      ASSERT_TRUE(was_killed(run_child(machine, armed))) << armed;
      Generation next(machine);
      ASSERT_TRUE(next.adopted_handover) << armed;
      const uint64_t found = take(machine, next);
      EXPECT_TRUE(found == 1 || found == 2) << armed;
      const bool before = name == "kho.commit.before_publish" && hit == 1;
      const bool after = name == "kho.commit.after_publish";
      EXPECT_EQ(found, before ? 1u : after ? 2u : found) << armed;
      next.commit();
      next.expect_sound();
    }
  }
  EXPECT_GE(points, 25);
}

TEST_P(Kill, BootLoopsOnOneHandoverLoseNothing) {
  TestMachine machine;
  first_generation(machine);
  const char* path[] = {"kho.boot.after_reserve", "kho.init.after_metadata", "kho.restore.after_adopt",
                        "kho.commit.before_publish", "kho.vmalloc.after_page"};
  for (int round = 0; round < 15; ++round)
    ASSERT_TRUE(was_killed(run_child(machine, std::string(path[round % std::size(path)]) + "=kill")));
  Generation next(machine);
  ASSERT_TRUE(next.adopted_handover);
  EXPECT_EQ(take(machine, next), 1u);
}

INSTANTIATE_TEST_SUITE_P(Formats, Kill, ::testing::Values(Format::kV4, Format::kTyped),
                         [](const auto& format) { return format.param == Format::kV4 ? "v4" : "typed"; });

}  // namespace
}  // namespace causeway::kho
#endif
