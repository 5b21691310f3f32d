// Random maps, syncs and accesses from both sides, over every path, against a model that is one array per buffer: whoever
// owns a byte sees what was last written to it. dma-debug watches and has nothing to say. With mutants.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "dma/debug/debug.h"
#include "dma/testing/paths.h"

namespace causeway::dma::testing {
namespace {

enum class Mistake { kNone, kNoSyncForCpu, kNoSyncForDevice, kSkipSyncAtUnmap, kForgetUnmap };

constexpr unsigned kBuffers = 12;
constexpr Order kOrder{3};
constexpr unsigned kLongest = 600;  // steps of a run

class Model {
 public:
  Model(const PathSpec& spec, unsigned seed, Mistake mistake = Mistake::kNone)
      : path(spec), random_(seed), incoherent_(!spec.coherent), mistake_(mistake) {
    for (unsigned i = 0; i < kBuffers; ++i) {
      Buffer& buffer = buffers_.emplace_back(Buffer{path.buffer(kOrder.value(), i), bytes(kOrder.bytes()), false});
      path.cpu_write(buffer.phys, buffer.content);
    }
  }

  // The first byte somebody saw wrong, or what else happened; empty: nothing.
  std::string run(unsigned steps) {
    for (unsigned i = 0; i < steps && failure_.empty(); ++i) step();
    while (failure_.empty() && !mappings_.empty()) unmap(mappings_.size() - 1);
    for (Buffer& buffer : buffers_) check_cpu(buffer, 0, buffer.content.size());
    if (!failure_.empty()) return failure_;
    path.settle();
    if (mistake_ == Mistake::kNone && path.slots_used() != 0) return fmt::format("{} slots left", path.slots_used());
    if (mistake_ == Mistake::kNone && path.mapped_bytes() != 0) return fmt::format("{} bytes mapped", path.mapped_bytes());
    return {};
  }

  Path path;

 private:
  using Bytes = std::vector<std::byte>;
  struct Buffer {
    PhysAddr phys;
    Bytes content;
    bool mapped;
  };
  struct Piece {
    Buffer* buffer;
    uint64_t offset;
    uint32_t length;
    PhysAddr phys() const { return buffer->phys + offset; }
  };
  // One buffer, or a list; positions count through all its pieces.
  struct Mapping {
    std::vector<Piece> pieces;
    Direction direction;
    bool is_list;
    DmaAddr address;
    std::vector<ScatterEntry> list;
    unsigned mapped = 0;
    std::vector<bool> cpu_owns;
    uint64_t size() const { return cpu_owns.size(); }
  };
  struct Range {
    uint64_t begin, end;
    uint64_t size() const { return end - begin; }
  };

  uint64_t below(uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(random_); }
  Bytes bytes(uint64_t n) {
    Bytes made(n);
    for (std::byte& byte : made) byte = static_cast<std::byte>(random_());
    return made;
  }
  void wrong(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }

  void step() {
    const uint64_t dice = below(100);
    if (incoherent_ && below(2) == 0) disturb_cache();
    if (mappings_.empty() || (dice < 15 && mappings_.size() < 6)) return map();
    const size_t which = below(mappings_.size());
    Mapping& mapping = mappings_[which];
    if (dice < 22) return unmap(which);
    if (dice < 40) return sync(mapping, true);
    if (dice < 50) return sync(mapping, false);
    if (dice < 65) return device_reads_some(mapping);
    if (dice < 80) return device_writes_some(mapping);
    if (dice < 88) return cpu_updates(mapping);
    if (dice < 94) return cpu_reads_some(mapping);
    cpu_uses_idle();
  }

  Piece piece() {
    Buffer* buffer;
    do buffer = &buffers_[below(kBuffers)];
    while (buffer->mapped);
    buffer->mapped = true;
    const uint64_t room = kOrder.bytes();
    const uint64_t longest[] = {16, 300, 4096, room};
    const uint64_t length = 1 + below(longest[below(4)]);
    uint64_t offset = below(room - length + 1);
    if (below(3) == 0) offset = align_down(offset, 4096);
    return {buffer, offset, static_cast<uint32_t>(length)};
  }

  void map() {
    auto is_idle = [](const Buffer& buffer) { return !buffer.mapped; };
    const auto idle = static_cast<uint64_t>(std::count_if(buffers_.begin(), buffers_.end(), is_idle));
    if (idle == 0) return;
    Mapping mapping{.direction = static_cast<Direction>(below(3)), .is_list = below(2) == 0};
    const uint64_t pieces = mapping.is_list ? 1 + below(std::min<uint64_t>(idle, 4)) : 1;
    for (uint64_t i = 0; i < pieces; ++i) mapping.pieces.push_back(piece());
    uint64_t size = 0;
    for (const Piece& p : mapping.pieces) size += p.length;
    mapping.cpu_owns.assign(size, false);
    if (mapping.is_list) {
      for (const Piece& p : mapping.pieces) mapping.list.push_back({.phys = p.phys(), .length = p.length});
      mapping.mapped = map_sg(path.device, mapping.list, mapping.direction);
      if (mapping.mapped == 0) return wrong("map_sg failed");
    } else {
      const Piece& p = mapping.pieces[0];
      mapping.address = map_phys(path.device, p.phys(), p.length, mapping.direction, Attr::kNone);
      if (!mapping_error(path.device, mapping.address)) return wrong("map_phys failed");
    }
    mappings_.push_back(std::move(mapping));
  }

  void unmap(size_t which) {
    Mapping mapping = std::move(mappings_[which]);
    mappings_.erase(mappings_.begin() + static_cast<ptrdiff_t>(which));
    const Attr attrs = mistake_ == Mistake::kSkipSyncAtUnmap ? Attr::kSkipCpuSync : Attr::kNone;
    if (mistake_ == Mistake::kForgetUnmap) return;
    if (mapping.is_list)
      unmap_sg(path.device, mapping.list, mapping.direction, attrs);
    else
      unmap_phys(path.device, mapping.address, mapping.size(), mapping.direction, attrs);
    // The whole buffer: what lies around the mapping is nobody's to change.
    for (const Piece& p : mapping.pieces) {
      p.buffer->mapped = false;
      check_cpu(*p.buffer, 0, p.buffer->content.size());
    }
  }

  // Lines belong to one side as a whole.
  Range random_range(const Mapping& mapping) {
    Range range{below(mapping.size()), 0};
    range.end = range.begin + 1 + below(mapping.size() - range.begin);
    if (!incoherent_) return range;
    const uint64_t base = mapping.pieces[0].phys().value();
    range.begin = std::max(align_down(base + range.begin, LineCache::kLine), base) - base;
    range.end = std::min(align_up(base + range.end, LineCache::kLine) - base, mapping.size());
    return range;
  }
  bool owns(const Mapping& mapping, Range range) const {
    for (uint64_t i = range.begin; i < range.end; ++i)
      if (!mapping.cpu_owns[i]) return false;
    return true;
  }
  // A range that one side owns, possibly empty.
  Range owned_range(const Mapping& mapping, bool cpu) {
    const uint64_t start = below(mapping.size());
    uint64_t end = start;
    while (end < mapping.size() && mapping.cpu_owns[end] == cpu) ++end;
    if (end > start) end = start + 1 + below(end - start);
    return {start, end};
  }

  // Only what the CPU has is given to the device: a bounce would overwrite what the device has written.
  void sync(Mapping& mapping, bool for_cpu) {
    Range range{0, mapping.size()};
    if (mapping.is_list && !for_cpu && !owns(mapping, range)) return;
    const bool skipped = mistake_ == (for_cpu ? Mistake::kNoSyncForCpu : Mistake::kNoSyncForDevice);
    if (mapping.is_list) {
      if (!skipped && for_cpu) sync_sg_for_cpu(path.device, mapping.list, mapping.direction);
      if (!skipped && !for_cpu) sync_sg_for_device(path.device, mapping.list, mapping.direction);
    } else {
      range = for_cpu ? random_range(mapping) : owned_range(mapping, true);
      if (range.size() == 0) return;
      if (!skipped && for_cpu)
        sync_single_range_for_cpu(path.device, mapping.address, range.begin, range.size(), mapping.direction);
      if (!skipped && !for_cpu)
        sync_single_range_for_device(path.device, mapping.address, range.begin, range.size(), mapping.direction);
    }
    for (uint64_t i = range.begin; i < range.end; ++i) mapping.cpu_owns[i] = for_cpu;
    if (for_cpu) check_cpu(mapping, range);
  }

  void device_reads_some(Mapping& mapping) {
    if (!device_reads(mapping.direction)) return;
    Range range = owned_range(mapping, false);
    if (range.size() == 0) return;
    Bytes seen(range.size());
    if (!device_access(mapping, range, [&](DmaAddr bus, uint64_t done, uint64_t n) {
          return path.device_read(bus, std::span(seen).subspan(done, n));
        }))
      return wrong("the device's read faulted");
    for (uint64_t i = 0; i < range.size(); ++i)
      if (seen[i] != at(mapping, range.begin + i))
        return wrong(fmt::format("the device saw byte {} wrong", range.begin + i));
  }

  void device_writes_some(Mapping& mapping) {
    if (!device_writes(mapping.direction)) return;
    Range range = owned_range(mapping, false);
    if (range.size() == 0) return;
    const Bytes data = bytes(range.size());
    if (!device_access(mapping, range, [&](DmaAddr bus, uint64_t done, uint64_t n) {
          return path.device_write(bus, std::span(data).subspan(done, n));
        }))
      return wrong("the device's write faulted");
    for (uint64_t i = 0; i < range.size(); ++i) at(mapping, range.begin + i) = data[i];
  }

  // Writes to what it owns, and hands it back: what it wrote and did not hand back, a bounce would overwrite.
  void cpu_updates(Mapping& mapping) {
    if (mapping.is_list || !device_reads(mapping.direction)) return;
    Range range = random_range(mapping);
    if (!owns(mapping, range)) return;
    const Bytes data = bytes(range.size());
    for (uint64_t i = 0; i < range.size(); ++i) at(mapping, range.begin + i) = data[i];
    path.cpu_write(mapping.pieces[0].phys() + range.begin, data);
    if (mistake_ != Mistake::kNoSyncForDevice)
      sync_single_range_for_device(path.device, mapping.address, range.begin, range.size(), mapping.direction);
    for (uint64_t i = range.begin; i < range.end; ++i) mapping.cpu_owns[i] = false;
  }

  void cpu_reads_some(Mapping& mapping) { check_cpu(mapping, owned_range(mapping, true)); }

  void cpu_uses_idle() {
    Buffer& buffer = buffers_[below(kBuffers)];
    if (buffer.mapped) return;
    const uint64_t offset = below(kOrder.bytes());
    const Bytes data = bytes(1 + below(std::min<uint64_t>(kOrder.bytes() - offset, 512)));
    std::copy(data.begin(), data.end(), buffer.content.begin() + static_cast<ptrdiff_t>(offset));
    path.cpu_write(buffer.phys + offset, data);
    check_cpu(buffer, 0, kOrder.bytes());
  }

  void disturb_cache() {
    const Buffer& buffer = buffers_[below(kBuffers)];
    for (unsigned i = 0; i < 32; ++i) {
      PhysAddr phys = buffer.phys + below(kOrder.bytes());
      if (below(2) == 0)
        path.cache->prefetch(phys);
      else
        path.cache->evict(phys);
    }
  }

  std::byte& at(Mapping& mapping, uint64_t position) {
    for (const Piece& p : mapping.pieces) {
      if (position < p.length) return p.buffer->content[p.offset + position];
      position -= p.length;
    }
    std::abort();
  }

  template <typename Function>
  bool device_access(const Mapping& mapping, Range range, Function function) {
    if (!mapping.is_list) return function(mapping.address + range.begin, 0, range.size());
    uint64_t position = 0, done = 0;
    for (const ScatterEntry& segment : std::span(mapping.list).first(mapping.mapped)) {
      const uint64_t begin = std::max(position, range.begin), end = std::min(position + segment.dma_length, range.end);
      if (begin < end) {
        if (!function(segment.dma_address + (begin - position), done, end - begin)) return false;
        done += end - begin;
      }
      position += segment.dma_length;
    }
    return done == range.size();
  }

  void check_cpu(const Buffer& buffer, uint64_t offset, uint64_t size) {
    Bytes seen(size);
    path.cpu_read(buffer.phys + offset, seen);
    if (buffer.mapped) return;
    for (uint64_t i = 0; i < size; ++i)
      if (seen[i] != buffer.content[offset + i])
        return wrong(fmt::format("the CPU saw byte {} of the buffer at {} wrong", offset + i, buffer.phys));
  }
  void check_cpu(Mapping& mapping, Range range) {
    uint64_t position = 0;
    for (const Piece& p : mapping.pieces) {
      const uint64_t begin = std::max(position, range.begin), end = std::min(position + p.length, range.end);
      if (begin < end) {
        Bytes seen(end - begin);
        path.cpu_read(p.phys() + (begin - position), seen);
        for (uint64_t i = begin; i < end; ++i)
          if (seen[i - begin] != at(mapping, i)) return wrong(fmt::format("the CPU saw byte {} of a mapping wrong", i));
      }
      position += p.length;
    }
  }

  std::mt19937_64 random_;
  const bool incoherent_;
  const Mistake mistake_;
  std::vector<Buffer> buffers_;
  std::vector<Mapping> mappings_;
  std::string failure_;
};

class Paths : public ::testing::TestWithParam<PathSpec> {};

// A run that fails is shrunk to its first steps. The same runs each time, unless RC_PARAMS says otherwise:
// RC_PARAMS="max_success=10000".
bool holds(const char* what, const std::function<void()>& property) {
  ::setenv("RC_PARAMS", "seed=1 max_success=8", 0);
  return rc::check(what, property);
}

// A seed's runs have the same beginning, however long they are.
Model made_up_run(const PathSpec& spec, unsigned* steps) {
  const unsigned seed = *rc::gen::noShrink(rc::gen::arbitrary<unsigned>());
  *steps = *rc::gen::inRange(1u, kLongest);
  return Model(spec, seed);
}

TEST_P(Paths, CpuAndDeviceSeeTheSameBytesAndDebugIsSilent) {
  EXPECT_TRUE(holds("CPU and device see what a copy would show them", [] {
    unsigned steps = 0;
    Model model = made_up_run(GetParam(), &steps);
    RC_ASSERT(model.run(steps) == "");
    RC_ASSERT(model.path.debug.errors() == 0u);
    RC_ASSERT(model.path.debug.entries() == 0u);
    RC_ASSERT(model.path.debug.enabled());
    RC_ASSERT(model.path.debug.device_removed(model.path.device) == 0u);
  }));
}

// Must be shown: a mapping that nobody gave back is named when its device goes.
TEST_P(Paths, ALeakedMappingIsReportedWhenTheDeviceGoes) {
  Model model(GetParam(), 1, Mistake::kForgetUnmap);
  model.run(1);
  const uint64_t left = model.path.debug.entries();
  EXPECT_GT(left, 0u);
  EXPECT_EQ(model.path.debug.errors(), 0u);
  EXPECT_EQ(model.path.debug.device_removed(model.path.device), left);
  EXPECT_EQ(model.path.debug.errors(DebugError::kPendingAllocations), 1u);
}

// 90
TEST_P(Paths, AnUnmapOfTheWrongSizeIsReportedAndLeavesTheNeighboursAlone) {
  Path path(GetParam());
  const PhysAddr phys = path.buffer(1, 0);
  const std::vector<std::byte> data(8192, std::byte{0x5a});
  path.cpu_write(phys, data);
  DmaAddr first = map_phys(path.device, phys, 4096, Direction::kToDevice, Attr::kNone);
  DmaAddr second = map_phys(path.device, phys + 4096, 4096, Direction::kToDevice, Attr::kNone);
  must(mapping_error(path.device, first));
  must(mapping_error(path.device, second));
  unmap_phys(path.device, first, 512, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(path.debug.errors(DebugError::kDifferentSize), 1u);
  std::vector<std::byte> seen(4096);
  EXPECT_TRUE(path.device_read(second, seen));
  EXPECT_TRUE(std::equal(seen.begin(), seen.end(), data.begin()));
  unmap_phys(path.device, second, 4096, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(path.debug.errors(), 1u);
}

std::string test_name(const ::testing::TestParamInfo<PathSpec>& info) {
  std::string name;
  for (char c : std::string(info.param.name)) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(Every, Paths, ::testing::ValuesIn(all_paths()), test_name);

// Some run sees wrong bytes.
bool is_caught(const PathSpec& spec, Mistake mistake, unsigned runs = 20) {
  for (unsigned seed = 1; seed <= runs; ++seed)
    if (!Model(spec, seed, mistake).run(400).empty()) return true;
  return false;
}

// Must be shown: the model sees every sync that a driver leaves out, where there is something to sync.
TEST(PathsControl, AForgottenSyncIsCaughtWhereverDataIsCopiedOrCached) {
  for (const PathSpec& spec : all_paths()) {
    if (spec.coherent && !spec.force_bounce && !spec.untrusted && spec.mask_bits == 64) continue;
    SCOPED_TRACE(spec.name);
    EXPECT_TRUE(is_caught(spec, Mistake::kNoSyncForCpu));
    EXPECT_TRUE(is_caught(spec, Mistake::kNoSyncForDevice));
    EXPECT_TRUE(is_caught(spec, Mistake::kSkipSyncAtUnmap));
  }
  // Nothing there to forget: the same drivers work, which is why such bugs survive.
  for (Mistake mistake : {Mistake::kNoSyncForCpu, Mistake::kNoSyncForDevice, Mistake::kSkipSyncAtUnmap})
    EXPECT_FALSE(is_caught({.name = "direct"}, mistake, 4));
}

TEST(PathsControl, ACacheThatDoesNotObeyIsCaught) {
  for (bool for_cpu : {true, false}) {
    bool caught = false;
    for (unsigned seed = 1; seed <= 10 && !caught; ++seed) {
      Model model({.name = "direct, incoherent", .coherent = false}, seed);
      (for_cpu ? model.path.cache->broken_for_cpu : model.path.cache->broken_for_device) = true;
      caught = !model.run(400).empty();
    }
    EXPECT_TRUE(caught) << (for_cpu ? "for cpu" : "for device");
  }
}

TEST(PathsControl, ATranslationIsGoneAfterAStrictUnmapAndNothingButTheMappingIsReachable) {
  Path path({.name = "iommu, strict", .domain = iommu::DomainType::kDma});
  const PhysAddr phys = path.buffer(0, 0);
  DmaAddr address = map_phys(path.device, phys, 4096, Direction::kBidirectional, Attr::kNone);
  must(mapping_error(path.device, address));
  EXPECT_TRUE(path.is_reachable(address));
  EXPECT_FALSE(path.is_reachable(address + 4096));
  unmap_phys(path.device, address, 4096, Direction::kBidirectional, Attr::kNone);
  EXPECT_FALSE(path.is_reachable(address));
}

}  // namespace
}  // namespace causeway::dma::testing
