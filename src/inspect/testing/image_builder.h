// Lays out handover images for tests, page by page, and gives them as a core file or as raw memory.
//
//   ImageBuilder image;
//   image.put(0x102000, luo::abi::Ser{...});
//   image.preserve(0x102000, 0);
//   image.subtree("LUO", 0x102000, 32);
//   std::vector<std::byte> core = image.core();
//   auto file = ImageFile::from_bytes(core);
//
// WorkedExample is the handover of one session with one memfd, small enough to know by heart.
#pragma once

#include <elf.h>

#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "kho/abi/kho_v4.h"
#include "kho/abi/typed_v1.h"
#include "kho/key.h"
#include "kho/radix_tree.h"
#include "kho/root_fdt.h"
#include "luo/abi/luo_v5.h"
#include "memfd/abi/memfd_v2.h"

namespace causeway::inspect {

class ImageBuilder : public kho::NodeSource {
 public:
  using Page = std::array<std::byte, kPageSize>;
  static constexpr uint64_t kFdt = 0x100000;

  // Nodes of the tree are handed out from `nodes` upwards.
  explicit ImageBuilder(kho::Format format = kho::Format::kV4, uint64_t nodes = 0x10a000)
      : format_(format), next_node_(nodes) {
    tree_ = *kho::RadixTree::create(*this, format);
    fdt_ = *kho::RootFdt::create(
        format == kho::Format::kTyped ? kho::abi::kTypedCompatible : kho::abi::kCompatible, tree_->root());
  }

  Page& page(uint64_t address) {
    auto [entry, is_new] = pages_.try_emplace(align_down(address, kPageSize));
    if (is_new) entry->second.fill(std::byte{0});
    return entry->second;
  }
  template <typename T>
  void put(uint64_t address, const T& value) {
    std::memcpy(page(address).data() + address % kPageSize, &value, sizeof value);
  }
  void text(uint64_t address, std::string_view text) {
    std::memcpy(page(address).data() + address % kPageSize, text.data(), text.size());
  }
  template <typename T>
  T get(uint64_t address) {
    T value;
    std::memcpy(&value, page(address).data() + address % kPageSize, sizeof value);
    return value;
  }
  void erase(uint64_t address) { pages_.erase(address); }

  void preserve(uint64_t address, unsigned order, kho::PageType type = kho::PageType::kContig) {
    if (!tree_->add(kho::encode_key({Pfn(address >> kPageShift), Order(order), type}, format_)).has_value()) std::abort();
  }
  void unpreserve(uint64_t address, unsigned order) {
    (void)tree_->remove(kho::encode_key({Pfn(address >> kPageShift), Order(order)}, format_));
  }
  void subtree(std::string_view name, uint64_t phys, uint64_t size) {
    if (!fdt_->add_subtree(name, PhysAddr(phys), size).has_value()) std::abort();
    write_fdt();
  }
  void write_fdt() {
    page(kFdt).fill(std::byte{0});
    std::memcpy(page(kFdt).data(), fdt_->bytes().data(), fdt_->bytes().size());
  }
  std::span<const std::byte> fdt_bytes() const { return fdt_->bytes(); }
  PhysAddr tree_root() const { return tree_->root(); }
  std::vector<uint64_t> page_addresses() const {
    std::vector<uint64_t> addresses;
    for (const auto& entry : pages_) addresses.push_back(entry.first);
    return addresses;
  }

  // An ELF core with a PT_LOAD per page.
  std::vector<std::byte> core() const {
    const uint64_t first = align_up(sizeof(Elf64_Ehdr) + pages_.size() * sizeof(Elf64_Phdr), kPageSize);
    std::vector<std::byte> bytes(first + pages_.size() * kPageSize);
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_CORE;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = static_cast<Elf64_Half>(pages_.size());
    std::memcpy(bytes.data(), &header, sizeof header);
    uint64_t offset = first, at = sizeof header;
    for (const auto& [address, contents] : pages_) {
      const Elf64_Phdr load{.p_type = PT_LOAD, .p_offset = offset, .p_paddr = address, .p_filesz = kPageSize,
                            .p_memsz = kPageSize};
      std::memcpy(bytes.data() + at, &load, sizeof load);
      std::memcpy(bytes.data() + offset, contents.data(), kPageSize);
      at += sizeof load;
      offset += kPageSize;
    }
    return bytes;
  }
  // Memory from address 0 to the last page.
  std::vector<std::byte> raw() const {
    std::vector<std::byte> bytes(pages_.rbegin()->first + kPageSize);
    for (const auto& [address, contents] : pages_) std::memcpy(bytes.data() + address, contents.data(), kPageSize);
    return bytes;
  }

  Result<PhysAddr> alloc_zeroed_page() override {
    const PhysAddr node(next_node_);
    next_node_ += kPageSize;
    page(node.value()).fill(std::byte{0});
    return node;
  }
  void free_page(PhysAddr node) override { pages_.erase(node.value()); }
  std::byte* to_virt(PhysAddr node) const override {
    return const_cast<ImageBuilder*>(this)->page(node.value()).data();
  }

 private:
  kho::Format format_;
  uint64_t next_node_;
  std::map<uint64_t, Page> pages_;
  std::unique_ptr<kho::RadixTree> tree_;
  std::optional<kho::RootFdt> fdt_;
};

// Session "vm0" with a memfd, token 0x1a, of 2 MiB + 4 KiB at position 5: a folio of order 9 at 0x200000 and one page
// at 0x400000.
class WorkedExample : public ImageBuilder {
 public:
  static constexpr uint64_t kMetadata = 0x101000, kLuo = 0x102000, kFlbs = 0x103000, kSessions = 0x104000,
                            kFiles = 0x105000, kMemfd = 0x106000, kChunk = 0x107000, kFolios = 0x108000,
                            kFirstFolio = 0x200000, kSecondFolio = 0x400000;

  WorkedExample() {
    kho::abi::KexecMetadata metadata{.version = kho::abi::kMetadataVersion, .kexec_count = 1};
    std::strcpy(metadata.previous_release, "7.3.4");
    put(kMetadata, metadata);
    luo::abi::Ser ser{.liveupdate_num = 1, .sessions_pa = kSessions, .flbs_pa = kFlbs};
    std::memcpy(ser.compatible, luo::abi::kCompatible, sizeof ser.compatible);
    put(kLuo, ser);
    put(kFlbs, luo::abi::FlbHeaderSer{1, 0});
    put(kSessions, kho::abi::BlockHeader{0, 1});
    luo::abi::SessionSer session{.file_set = {kFiles, 1}};
    std::strcpy(session.name, "vm0");
    put(kSessions + 16, session);
    put(kFiles, kho::abi::BlockHeader{0, 1});
    luo::abi::FileSer file{.data = kMemfd, .token = 0x1a};
    std::strcpy(file.compatible, memfd::abi::kCompatible);
    put(kFiles + 16, file);
    put(kMemfd, memfd::abi::Ser{.position = 5, .size = 0x201000, .seals = 1, .nr_folios = 2,
                                .folios = {.first = kChunk, .total_pages = 1, .flags = 1}});
    put(kChunk + 8, uint64_t{kFolios});
    put(kFolios, memfd::abi::make_folio(kFirstFolio >> kPageShift, 0));
    put(kFolios + 16, memfd::abi::make_folio(kSecondFolio >> kPageShift, 512));
    text(kFirstFolio, "the first page of vm0");
    text(kSecondFolio, "and the last");
    for (uint64_t at = kFdt; at <= kFolios; at += kPageSize) preserve(at, 0);
    preserve(kSecondFolio, 0);
    preserve(kFirstFolio, 9);
    subtree(kho::abi::kMetadataSubtree, kMetadata, sizeof metadata);
    subtree(luo::abi::kSubtree, kLuo, sizeof ser);
  }
};

}  // namespace causeway::inspect
