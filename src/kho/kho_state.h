// What a Kho consists of. Private to this room: the parts of Kho are spread over boot.cc (the incoming
// side of a boot), kho.cc (the outgoing side, commit), preserve.cc, restore.cc, vmalloc.cc and
// subtree.cc.
//
//   Status Kho::preserve_folio(mm::Page* folio) { State& s = *state_; ... }
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "kho/image.h"
#include "kho/kho.h"
#include "kho/outgoing.h"
#include "kho/root_fdt.h"
#include "sync/mutex.h"

namespace causeway::kho {

// Nodes of the outgoing tree: single pages, never movable, hence never in scratch.
class PageNodes : public NodeSource {
 public:
  explicit PageNodes(mm::PageAllocator& allocator) : allocator_(allocator) {}
  Result<PhysAddr> alloc_zeroed_page() override {
    mm::Page* page = CW_TRY(allocator_.alloc_pages(kOrder0, mm::kGfpKernel | mm::kGfpZero));
    return allocator_.map().phys(page);
  }
  void free_page(PhysAddr page) override { allocator_.free_pages(allocator_.map().page(page), kOrder0); }
  std::byte* to_virt(PhysAddr page) const override { return allocator_.map().direct_map().to_virt(page); }

 private:
  mm::PageAllocator& allocator_;
};

struct Kho::State {
  State(mm::MemMap& memory_map, const KhoParams& parameters)
      : map(memory_map), params(parameters), enabled(parameters.enabled) {}

  mm::MemMap& map;
  const KhoParams params;
  std::atomic<bool> enabled;

  // Set by early_init(), constant afterwards.
  std::optional<Image> incoming;
  std::vector<mm::MemRange> ram;        // boot RAM
  std::vector<PfnRange> client;         // clients' RAM; ascending
  // By index in incoming->blocks(), if there is client memory: 1, a block in it has been claimed. Not in struct pages,
  // which would be touched for every block then, and there is one block per 2 MiB of somebody's file.
  std::unique_ptr<std::atomic<uint8_t>[]> claimed;
  std::vector<mm::MemRange> scratch;    // in the order of the array
  std::vector<PfnRange> scratch_taken;  // parts of it that boot allocations hold for good
  PfnRange incoming_array;              // frames of the scratch array of the incoming handover
  PhysAddr outgoing_array;              // our own, a page inside scratch
  PhysAddr incoming_metadata;           // page of kexec-metadata; 0: none
  uint32_t kexec_count = 0;
  std::string previous_release;
  uint64_t incoming_pages = 0;

  // Set by init(), constant afterwards.
  mm::PageAllocator* allocator = nullptr;
  mm::Vmalloc* vmalloc = nullptr;
  std::unique_ptr<PageNodes> nodes;
  std::unique_ptr<Outgoing> outgoing;

  // The root FDT and its publication. Taken before the tree's mutex.
  mutable sync::Mutex fdt_mutex{"kho.root_fdt"};
  std::optional<RootFdt> fdt CW_GUARDED_BY(fdt_mutex);
  PhysAddr fdt_page CW_GUARDED_BY(fdt_mutex);                     // the one that counts
  PhysAddr spare_page CW_GUARDED_BY(fdt_mutex);                   // 0: not made yet
  platform::Mailbox* mailbox CW_GUARDED_BY(fdt_mutex) = nullptr;  // null: not published yet
  platform::Handover published CW_GUARDED_BY(fdt_mutex);

  // What is to happen at commit().
  sync::Mutex deferred_mutex{"kho.deferred"};
  bool holding CW_GUARDED_BY(deferred_mutex) = false;  // a KHO boot before commit()
  std::vector<std::function<void()>> deferred CW_GUARDED_BY(deferred_mutex);

  std::atomic<bool> warned_restore{false};
  std::atomic<bool> warned_disabled{false};
  std::atomic<uint64_t> restored_pages{0};
  std::atomic<uint64_t> failed_restores{0};

  // boot.cc
  Status adopt(mm::BootMemory& boot, const platform::Handover& handover);
  Status check_client_memory(const Image& image, PfnRange incoming_array) const;
  void read_metadata();
  bool in_client(PfnRange range) const;  // any frame of it

  // kho.cc
  Status build_outgoing();
  Status add_metadata();
  Status release_scratch();  // as CMA
  void free_scratch();       // for any use: KHO is off
  void release_incoming();
  bool active() const { return enabled && outgoing != nullptr; }
  // EINVAL, with a warning the first time.
  Status require_active();

  // subtree.cc
  Result<Subtree> find_subtree(std::string_view name) const;
  // Makes `next` the current root FDT, in one step as the next kernel sees it. ENOMEM.
  Status switch_fdt(const RootFdt& next) CW_REQUIRES(fdt_mutex);
  // As one step together with a change of the tree.
  Status switch_fdt_and_tree(std::span<const Block> removed, std::span<const Block> added)
      CW_REQUIRES(fdt_mutex);
  Status ensure_spare() CW_REQUIRES(fdt_mutex);
  void write_fdt(PhysAddr page, const RootFdt& content);
  void publish_fdt(PhysAddr page) CW_REQUIRES(fdt_mutex);

  // restore.cc
  std::optional<Block> preserved_block(PhysAddr phys) const;  // in boot RAM
  // Index of the unclaimed block of client memory that starts there.
  std::optional<size_t> client_block(PhysAddr phys) const;
  bool is_unrestored(const Block& block) const;
  // The heads of [phys, phys + count pages), all checked. Empty: not wholly preserved from a head on.
  bool check_run(PhysAddr phys, uint64_t count) const;
  enum class Counts : uint8_t { kHeadOnly, kEveryPage, kFolio };
  bool restore_block(const Block& block, Counts counts);
  mm::Page* refuse_restore(PhysAddr phys, const char* reason);
};

// The page of preserved metadata of order 0.
inline Block page_block(PhysAddr page) {
  return {Pfn::containing(page), kOrder0, PageType::kContig};
}

}  // namespace causeway::kho
