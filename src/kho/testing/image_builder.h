// Makes a handover in a BufferMemory, for tests of the reader.
//
//   ImageBuilder builder(Format::kV4);
//   builder.preserve({Pfn(0x800), Order(3)});
//   platform::Handover handover = builder.finish();
//   Image::read(builder.memory, handover);
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "kho/abi/kho_v4.h"
#include "kho/abi/typed_v1.h"
#include "kho/root_fdt.h"
#include "kho/testing/buffer_memory.h"

namespace causeway::kho {

class ImageBuilder {
 public:
  // 2 MiB with contents: FDT at 1 MiB, tree nodes from 1 MiB + 4 KiB, scratch in the last 256 KiB. 64 MiB of
  // RAM in all.
  static constexpr uint64_t kContents = MiB(2);
  static constexpr uint64_t kRam = MiB(64);
  static constexpr PhysAddr kFdt{MiB(1)};
  static constexpr PhysAddr kScratch{MiB(2) - KiB(256)};

  explicit ImageBuilder(Format format) : memory(kContents, kRam), format_(format) {
    memory.allocate_from(kFdt + kPageSize);
    tree = *RadixTree::create(memory, format);
    fdt = *RootFdt::create(format == Format::kTyped ? abi::kTypedCompatible : abi::kCompatible, tree->root());
    preserve({Pfn::containing(kFdt), kOrder0});
  }

  void preserve(const Block& block) {
    if (!tree->add(encode_key(block, format_)).has_value()) std::abort();
  }
  platform::Handover finish() {
    std::memcpy(memory.to_virt(kFdt), fdt->bytes().data(), fdt->bytes().size());
    for (size_t i = 0; i < scratch.size(); ++i)
      memory.as<abi::ScratchEntry>(kScratch.value() + i * 16) = {scratch[i].base.value(), scratch[i].size};
    return {.fdt_addr = kFdt,
            .fdt_size = kPageSize,
            .scratch_addr = kScratch,
            .scratch_size = scratch.size() * 16};
  }
  // Pages that an image consists of: FDT, nodes, scratch array.
  std::vector<PhysAddr> metadata_pages() const {
    std::vector<PhysAddr> pages{kFdt, kScratch};
    (void)tree->walk([](uint64_t) { return Status{}; },
                     [&](PhysAddr node) { return pages.push_back(node), Status{}; });
    return pages;
  }

  BufferMemory memory;
  std::unique_ptr<RadixTree> tree;
  std::optional<RootFdt> fdt;
  std::vector<mm::MemRange> scratch{{kScratch, KiB(128)}, {PhysAddr(MiB(32)), MiB(4)}};

 private:
  Format format_;
};

}  // namespace causeway::kho
