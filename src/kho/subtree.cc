// The root FDT and its subtrees.
//
// The page that the mailbox names is never written to: a kernel may die between any two stores, and half
// an FDT would cost the whole handover. A change is written to a second page, and the mailbox is switched to
// it.
#include <cstring>

#include "base/log.h"
#include "base/point.h"
#include "kho/kho_state.h"

namespace causeway::kho {

void Kho::State::write_fdt(PhysAddr page, const RootFdt& content) {
  std::byte* target = map.direct_map().to_virt(page);
  std::memcpy(target, content.bytes().data(), content.bytes().size());
  std::memset(target + content.bytes().size(), 0, kPageSize - content.bytes().size());
}

void Kho::State::publish_fdt(PhysAddr page) {
  published.fdt_addr = page;
  published.fdt_size = kPageSize;
  mailbox->publish(published);
}

Status Kho::State::ensure_spare() {
  if (spare_page != PhysAddr(0)) return {};
  CW_FAIL_POINT("kho.subtree.alloc_spare");
  spare_page = map.phys(CW_TRY(allocator->alloc_pages(kOrder0, mm::kGfpKernel | mm::kGfpZero)));
  return {};
}

Status Kho::State::switch_fdt(const RootFdt& next) {
  if (mailbox == nullptr) {
    write_fdt(fdt_page, next);
    fdt = next;
    return {};
  }
  CW_TRY(ensure_spare());
  write_fdt(spare_page, next);
  CW_TRY(outgoing->add(page_block(spare_page)));
  CW_POINT("kho.subtree.before_publish");
  publish_fdt(spare_page);
  CW_POINT("kho.subtree.after_publish");
  outgoing->remove(page_block(fdt_page));
  std::swap(fdt_page, spare_page);
  fdt = next;
  return {};
}

Status Kho::State::switch_fdt_and_tree(std::span<const Block> removed, std::span<const Block> added) {
  std::vector<Block> out(removed.begin(), removed.end()), in(added.begin(), added.end());
  const bool live = mailbox != nullptr;
  if (live) {
    CW_TRY(ensure_spare());
    out.push_back(page_block(fdt_page));
    in.push_back(page_block(spare_page));
  }
  CW_TRY(outgoing->replace(out, in, [&](PhysAddr root) CW_NO_THREAD_SAFETY_ANALYSIS -> Status {
    RootFdt next = *fdt;
    CW_TRY(next.set_tree_root(root));
    write_fdt(live ? spare_page : fdt_page, next);
    if (live) publish_fdt(spare_page);
    fdt = next;
    return {};
  }));
  if (live) std::swap(fdt_page, spare_page);
  return {};
}

Status Kho::add_subtree(std::string_view name, const void* blob, uint64_t size) {
  State& s = *state_;
  CW_TRY(s.require_active());
  if (!s.map.direct_map().contains(blob) || size == 0)
    return fail(EINVAL, "subtree: the blob is empty or not in the direct map");
  CW_FAIL_POINT("kho.subtree.add");
  sync::MutexLock lock(s.fdt_mutex);
  RootFdt next = *s.fdt;
  CW_TRY(next.add_subtree(name, s.map.direct_map().to_phys(blob), size));
  return s.switch_fdt(next);
}

void Kho::remove_subtree(const void* blob) {
  State& s = *state_;
  if (!s.active() || !s.map.direct_map().contains(blob)) return;
  sync::MutexLock lock(s.fdt_mutex);
  RootFdt next = *s.fdt;
  if (!next.remove_subtree(s.map.direct_map().to_phys(blob))) return;
  if (Status switched = s.switch_fdt(next); !switched.has_value())
    log::warn("kho", "a subtree stays in the handover: {}", to_string(switched.error()));
}

Result<Subtree> Kho::retrieve_subtree(std::string_view name) const {
  const State& s = *state_;
  if (!s.enabled || !s.incoming.has_value()) return fail(ENOENT, "not a KHO boot, or KHO is off");
  return s.find_subtree(name);
}

Result<Subtree> Kho::State::find_subtree(std::string_view name) const {
  Subtree subtree = CW_TRY(incoming->subtree(name));
  const PfnRange frames{Pfn::containing(subtree.phys), Pfn::containing(subtree.phys + (subtree.size - 1)) + 1};
  if (in_client(frames)) {
    log::warn("kho", "subtree {}: {} bytes at {} lie in client memory", name, subtree.size, subtree.phys);
    return fail(EINVAL, "subtree: its blob lies in client memory");
  }
  return subtree;
}

}  // namespace causeway::kho
