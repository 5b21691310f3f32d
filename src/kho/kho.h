// Kexec HandOver: memory that survives the replacement of the kernel, and how the next one finds it.
//
//   // old kernel
//   void* state = CW_TRY(kho.alloc_preserve(sizeof(MyState)));
//   CW_TRY(kho.preserve_pages(page, 8));
//   CW_TRY(kho.add_subtree("my-driver", state, sizeof(MyState)));
//
//   // new kernel
//   Subtree found = CW_TRY(kho.retrieve_subtree("my-driver"));      // ENOENT: not a KHO boot, or no such
//   Page* page = kho.restore_pages(state->pages, 8);                // one-shot
//
// Names and contracts are the kernel's (kho_preserve_folio -> preserve_folio). KHO is stateless: whatever is
// in the outgoing tree at the instant this kernel ends is what the next one finds. In Causeway that
// instant can be any: the handover is *standing*, published in the machine's mailbox as soon as it is
// complete, so that a kernel may also die unannounced.
//
// Order of calls at boot (the kernel room does it):
//   1. create()                    the switch, the format
//   2. early_init(boot, handover)  scratch: adopted from a valid handover, or reserved; in a KHO boot
//                                  boot memory is restricted to scratch, and everything the incoming image
//                                  holds is reserved: preserved blocks, and until commit() also tree nodes,
//                                  FDT and scratch array
//   3. init(allocator)             outgoing tree and FDT, kexec-metadata; scratch goes to the buddy as CMA
//   4. drivers restore, and preserve again
//   5. commit(mailbox)             publishes the new handover; only then is incoming metadata freed
//
// Between 2 and 5 the *old* handover is the valid one and is kept whole: what restore_free(),
// restore_vmalloc() or a block set give back is freed at commit(), not before. Killed anywhere, the next
// kernel finds either the old handover or the new one.
//
// Preserve calls may sleep and are serialised by one mutex. Two restores of one address at the same
// time are the caller's bug.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "kho/abi/kho_v4.h"
#include "kho/image.h"
#include "kho/key.h"
#include "kho/scratch.h"
#include "mm/boot_memory.h"
#include "mm/page_allocator.h"
#include "mm/vmalloc.h"
#include "platform/mailbox.h"

namespace causeway::kho {

struct KhoParams {
  bool enabled = true;              // kho=
  ScratchSizes scratch;             // kho_scratch=
  Format format = Format::kV4;      // of the outgoing handover; an incoming one may be either
  // CONFIG_KEXEC_HANDOVER_DEBUG: a warning names the block that is refused at preserve. The checks
  // themselves are always on: a block in scratch would cost everybody the handover.
  bool debug = true;
  std::string release;              // of this kernel, for kexec-metadata and the mailbox
};

struct KhoStats {
  bool kho_boot = false;
  uint32_t kexec_count = 0;            // of kexec-metadata: hops since the cold boot
  std::string previous_release;
  uint64_t incoming_blocks = 0;
  uint64_t incoming_pages = 0;
  uint64_t restored_pages = 0;
  uint64_t unrestored_pages = 0;       // still reserved; includes the two below
  uint64_t unrestored_by_design = 0;   // incoming root FDT and kexec-metadata, which nobody restores
  uint64_t failed_restores = 0;
  uint64_t preserved_blocks = 0;       // keys in the outgoing tree
  uint64_t preserved_pages = 0;
  uint64_t tree_pages = 0;             // nodes of the outgoing tree
};

class Kho {
 public:
  static Result<std::unique_ptr<Kho>> create(mm::MemMap& map, const KhoParams& params);
  ~Kho();

  // Boot, in this order. A bad handover is logged and ignored (an ordinary boot): `true` if the
  // handover was accepted. A failed scratch reservation turns KHO off.
  Result<bool> early_init(mm::BootMemory& boot, const std::optional<platform::Handover>& handover);
  // An error has turned KHO off and freed scratch; the boot can go on.
  Status init(mm::PageAllocator& allocator, mm::Vmalloc& vmalloc);
  // Publishes the outgoing handover and frees what commit() was to free. ENODEV: KHO is off.
  // May be called again (kOrderly at kexec).
  Status commit(platform::Mailbox& mailbox, hw::HandoverKind kind, uint32_t generation);

  // Runs `action` when the old handover does not count any more: at commit(), or now if that has been, or
  // if there was none. For freeing what the old handover still names: restored memory that is not
  // needed after all, an array from restore_vmalloc().
  void after_commit(std::function<void()> action);

  bool is_enabled() const;   // false also after a failed reservation or init()
  bool is_kho_boot() const;  // an incoming handover was accepted
  Format incoming_format() const;

  // -- Memory, old kernel's side. EINVAL: KHO is off, the block overlaps scratch or is not RAM; EBUSY: it
  // overlaps a preserved block of another order or type; ENOMEM. Preserving twice is success and not counted.
  Status preserve_folio(mm::Page* folio);
  void unpreserve_folio(mm::Page* folio);
  // Any run of order-0 pages, cut into aligned power-of-two blocks. In the typed format the type of
  // each block is detected by the reference count of its second page; so there the run may also be one
  // whole unsplit block, but not several: a block of blocks would come back with one reference.
  Status preserve_pages(mm::Page* page, uint64_t count);
  void unpreserve_pages(mm::Page* page, uint64_t count);  // the same page and count
  // One unsplit block of 2^order pages: head counted, tails not.
  Status preserve_page(mm::Page* page, Order order);
  void unpreserve_page(mm::Page* page, Order order);
  // Many unsplit blocks under one acquisition of the mutex; all or nothing.
  Status preserve_blocks(std::span<const Block> blocks);
  // Whether any frame of the range is preserved: such memory may not go away.
  bool is_preserved(PfnRange range) const;
  // The owner has called split_page() on memory preserved as contiguous: marks its keys as split, all in
  // one step as the next kernel sees it.
  // Typed format only: EOPNOTSUPP otherwise; ENOENT: not preserved.
  Status split_preserved_pages(mm::Page* page, uint64_t count);

  // -- Memory, new kernel's side. Null (and, once per boot, a warning) if `phys` is not the head of a
  // preserved block, or was restored before. The block's own order counts, not the caller's number.
  mm::Page* restore_folio(PhysAddr phys);                   // head 1, tails 0, compound
  // Every page 1; in a typed handover by the recorded type. All or nothing: the whole run is
  // checked before any count is touched.
  mm::Page* restore_pages(PhysAddr phys, uint64_t count);
  mm::Page* restore_page(PhysAddr phys);                    // head 1, tails 0, not compound
  // Order of the preserved, not yet restored block at `phys`. Nullopt also for client memory: whoever asks goes
  // on to read the block, and what a client can change or take away is not read.
  std::optional<Order> preserved_order(PhysAddr phys) const;

  // -- Blocks in client memory (mm::BootMemory::add_client): named by a handover like any other, restored by none of
  // the calls above, because what is restored ends up in the page allocator. claim() says that the block's owner has
  // been found: it counts as restored, stays reserved, and goes when its region does. One-shot; false: not the head
  // of a preserved block of client memory, or claimed before.
  bool claim(PhysAddr phys);
  std::optional<Order> client_order(PhysAddr phys) const;  // of a block that can be claimed
  // Whether a block that overlaps `range` has been neither restored nor claimed.
  bool has_unrestored(PfnRange range) const;

  // -- Page-sized metadata. Zeroed folio of get_order(size), preserved. EINVAL size 0, E2BIG, ENOMEM.
  Result<void*> alloc_preserve(uint64_t size);
  void unpreserve_free(void* memory);  // old kernel's undo; null is a no-op
  void restore_free(void* memory);     // new kernel; null is a no-op; a warning if not restorable

  // -- vmalloc areas. EINVAL not a vmalloc area; EOPNOTSUPP other flags; ENOMEM.
  Result<abi::VmallocDescriptor> preserve_vmalloc(const void* address);
  void unpreserve_vmalloc(const abi::VmallocDescriptor& descriptor);
  // A new area with the old contents, or an error (EINVAL damaged, ENOENT a page is not preserved,
  // ENOMEM); pages restored until then stay restored and are leaked.
  Result<const mm::VmArea*> restore_vmalloc(const abi::VmallocDescriptor& descriptor);

  // -- Subtrees. EEXIST; ENOMEM (also: the FDT page is full); EINVAL (KHO is off, an empty blob or one
  // outside the direct map, not a name). Does not preserve the blob.
  Status add_subtree(std::string_view name, const void* blob, uint64_t size);
  void remove_subtree(const void* blob);
  // ENOENT, EINVAL (bad properties, or the blob is not wholly preserved memory). Restores nothing.
  Result<Subtree> retrieve_subtree(std::string_view name) const;

  bool scratch_overlap(PhysAddr phys, uint64_t size) const;
  std::vector<mm::MemRange> scratch() const;
  // Blocks of the incoming handover that nobody has restored; by-design ones left out.
  std::vector<Block> unrestored() const;
  KhoStats stats() const;

  mm::PageAllocator& allocator();
  mm::MemMap& map();

 private:
  friend class BlockSet;
  void unpreserve_chunks(const abi::VmallocDescriptor& descriptor);
  struct State;
  explicit Kho(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace causeway::kho
