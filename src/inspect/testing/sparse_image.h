// A raw image of a large machine in a sparse file: blocks of order 0, evenly spread, that have no contents.
//
//   SparseImage image = SparseImage::create(TiB(1), 1'000'000);
//   ImageFile::open(image.path(), {});
#pragma once

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "base/mapping.h"
#include "base/unique_fd.h"
#include "kho/abi/kho_v4.h"
#include "kho/key.h"
#include "kho/radix_tree.h"
#include "kho/root_fdt.h"

namespace causeway::inspect {

constexpr uint64_t TiB(uint64_t n) { return n << 40; }

class SparseImage {
 public:
  // The FDT lies at 1 MiB, the tree from 2 MiB on, blocks from 256 MiB on.
  static SparseImage create(uint64_t bytes, uint64_t blocks) {
    SparseImage image;
    image.fd_.reset(::memfd_create("sparse image", MFD_CLOEXEC));
    if (::ftruncate(image.fd_.get(), static_cast<off_t>(bytes)) != 0) std::abort();
    Nodes nodes{*Mapping::shared(image.fd_.get(), 0, bytes)};
    auto tree = *kho::RadixTree::create(nodes, kho::Format::kV4);
    const uint64_t first = MiB(256), stride = align_down((bytes - first) / blocks, kPageSize);
    auto add = [&](uint64_t phys) {
      if (!tree->add(kho::encode_key({Pfn(phys >> kPageShift), kOrder0}, kho::Format::kV4)).has_value()) std::abort();
    };
    for (uint64_t i = 0; i < blocks; ++i) add(first + i * stride);
    add(MiB(1));
    const auto fdt = *kho::RootFdt::create(kho::abi::kCompatible, tree->root());
    std::memcpy(nodes.memory.data() + MiB(1), fdt.bytes().data(), fdt.bytes().size());
    return image;
  }
  int fd() const { return fd_.get(); }
  std::string path() const { return fmt::format("/proc/self/fd/{}", fd_.get()); }

 private:
  struct Nodes : kho::NodeSource {
    explicit Nodes(Mapping mapping) : memory(std::move(mapping)) {}
    Result<PhysAddr> alloc_zeroed_page() override {
      next += kPageSize;
      return PhysAddr(next - kPageSize);
    }
    void free_page(PhysAddr) override {}
    std::byte* to_virt(PhysAddr page) const override { return memory.data() + page.value(); }
    Mapping memory;
    uint64_t next = MiB(2);
  };
  UniqueFd fd_;
};

}  // namespace causeway::inspect
