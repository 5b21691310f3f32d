// How memfds, and other anonymous files of tmpfs, are preserved: the LUO file handler `memfd-v2`.
//
//   MemfdHandler memfds(client_memory, frozen_files, kho, vmalloc);
//   CW_TRY(orchestrator.register_handler(memfds));
//
// The file becomes machine memory (ClientMemory), its frames are preserved as folios of up to 2 MiB, and the next kernel
// reopens the very same file: same pages, same holes, no copy. A record whose folios lie in boot RAM, as
// a Linux kernel writes it, comes back as a new memfd with a copy of the contents.
//
// Costs: preserve, unpreserve, retrieve and finish are linear in folios (64 GiB: 32,768); memory of the file is never
// touched, but by the copy.
//
// Errors of preserve: EOPNOTSUPP unknown seal, EFBIG above 2^32 - 1 pages, ENOMEM. Of freeze: EPERM, the file has grown
// meanwhile. Of retrieve: EINVAL damaged record or array, EOPNOTSUPP unknown seal, EIO a folio that cannot be had,
// ENOMEM, EMFILE. A record that is refused is leaked for this boot, never freed.
#pragma once

#include <map>
#include <memory>

#include "kho/kho.h"
#include "luo/file_handler.h"
#include "memfd/client_memory.h"
#include "memfd/frozen_files.h"
#include "mm/vmalloc.h"
#include "sync/mutex.h"

namespace causeway::memfd {

struct Preserved;

class MemfdHandler final : public luo::FileHandler {
 public:
  // All four outlive it. `frozen`: the files that are preserved.
  MemfdHandler(ClientMemory& memory, FrozenFiles& frozen, kho::Kho& kho, mm::Vmalloc& vmalloc);
  ~MemfdHandler() override;

  const char* compatible() const override;
  bool can_preserve(const file::FileRef& file) override;
  luo::FileId id(const file::FileRef& file) const override;  // the inode

  Status preserve(luo::FileArgs& args) override;
  void unpreserve(luo::FileArgs& args) override;
  Status freeze(luo::FileArgs& args) override;
  Status retrieve(luo::FileArgs& args) override;
  void finish(luo::FileArgs& args) override;
  std::shared_ptr<void> batch() override { return memory_.defer_removals(); }

 private:
  Status preserve_file(const file::NativeFile& file, Preserved& preserved);

  ClientMemory& memory_;
  FrozenFiles& frozen_;
  kho::Kho& kho_;
  mm::Vmalloc& vmalloc_;
  sync::Mutex mutex_{"memfd.retrieved"};
  // Regions of retrieved files, by their records, until finish().
  std::map<uint64_t, std::shared_ptr<Adopted>> retrieved_ CW_GUARDED_BY(mutex_);
};

}  // namespace causeway::memfd
