// The record of a preserved memfd: writing it in the old kernel, and reading one that is not trusted in the next.
// Private to this room.
//
//   std::vector<abi::FolioSer> folios = cut(adopted.frames().begin, pages, &blocks);
//   Record record = CW_TRY(Record::read(kho, vmalloc, args.serialized_data));
//   for (const Folio& folio : record.folios()) ...
//   record.release();                     // descriptor and array are freed; the folios are the caller's business
#pragma once

#include <cstdint>
#include <vector>

#include "kho/kho.h"
#include "memfd/abi/memfd_v2.h"
#include "mm/vmalloc.h"

namespace causeway::memfd {

// The largest folio a page cache takes: 2 MiB, that of one entry of a page middle directory.
inline constexpr unsigned kMaxFolioOrder = 9;
// More cannot be described: a page's index, and the number of pages of an array, are counted in 32 bits by the reader.
inline constexpr uint64_t kMaxPages = UINT32_MAX;

// The folios of `pages` pages of a file that lie in one run from `first` on: each as large as its place in
// memory and in the file allows.
std::vector<kho::Block> cut(Pfn first, uint64_t pages);

struct Folio {
  Pfn pfn;
  uint64_t index = 0;  // in the file, in pages
  Order order;
  bool client = false;  // in client memory: to be claimed; else in boot RAM: to be restored
};

class Record {
 public:
  // EINVAL: damaged, or the array cannot be restored; EOPNOTSUPP: a seal that is not known; EIO: a folio is not the
  // head of a preserved block; ENOMEM. Nothing is restored then but, if it could be read, the array, which is leaked.
  static Result<Record> read(kho::Kho& kho, mm::Vmalloc& vmalloc, uint64_t data);

  const abi::Ser& ser() const { return ser_; }
  const std::vector<Folio>& folios() const { return folios_; }  // ascending by index
  // Frees descriptor and array, as soon as no handover names them. Once.
  void release();
  // Takes a folio over: false if somebody else did. One of boot RAM is freed as soon as no handover names it.
  bool give_back(const Folio& folio);

 private:
  Record(kho::Kho& kho, mm::Vmalloc& vmalloc, std::byte* page) : kho_(&kho), vmalloc_(&vmalloc), page_(page) {}
  Status read_folios();
  Status check_distinct() const;

  kho::Kho* kho_;
  mm::Vmalloc* vmalloc_;
  std::byte* page_;
  const mm::VmArea* array_ = nullptr;
  abi::Ser ser_{};
  std::vector<Folio> folios_;
};

}  // namespace causeway::memfd
