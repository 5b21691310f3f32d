#include "kho/root_fdt.h"

#include <libfdt.h>

#include <cstring>
#include <string>

#include "kho/abi/kho_v4.h"

namespace causeway::kho {
namespace {

// libfdt's own error numbers: everything that is not a duplicate is a matter of space.
Status from_libfdt(int result) {
  if (result >= 0) return {};
  if (result == -FDT_ERR_EXISTS) return fail(EEXIST, "a subtree of that name exists");
  return fail(ENOMEM, "root fdt: no room in the page");
}

// Payloads are host-endian, not FDT cells.
Status set_u64(void* fdt, int node, const char* name, uint64_t value) {
  return from_libfdt(fdt_setprop(fdt, node, name, &value, sizeof value));
}

bool is_node_name(std::string_view name) {
  return !name.empty() && name.size() < kPageSize && name.find('/') == name.npos &&
         name.find('\0') == name.npos;
}

}  // namespace

Result<RootFdt> RootFdt::create(std::string_view compatible, PhysAddr tree_root) {
  RootFdt fdt;
  alignas(8) Page page{};
  const std::string name(compatible);
  CW_TRY(from_libfdt(fdt_create_empty_tree(page.data(), kPageSize)));
  // Newest property first: compatible is to come first, as the kernel writes it.
  CW_TRY(set_u64(page.data(), 0, abi::kPropMemoryMap, tree_root.value()));
  CW_TRY(from_libfdt(
      fdt_setprop(page.data(), 0, abi::kPropCompatible, name.c_str(), static_cast<int>(name.size() + 1))));
  CW_TRY(fdt.adopt(page));
  return fdt;
}

Status RootFdt::adopt(Page& page) {
  CW_TRY(from_libfdt(fdt_pack(page.data())));
  const uint64_t size = fdt_totalsize(page.data());
  std::memset(page.data() + size, 0, kPageSize - size);
  page_ = page;
  size_ = size;
  return {};
}

Status RootFdt::add_subtree(std::string_view name, PhysAddr phys, uint64_t size) {
  if (!is_node_name(name)) return fail(EINVAL, "not a name of a subtree: empty, or with a '/' or NUL in it");
  alignas(8) Page page = page_;
  void* fdt = page.data();
  CW_TRY(from_libfdt(fdt_open_into(fdt, fdt, kPageSize)));
  const int node = fdt_add_subnode_namelen(fdt, 0, name.data(), static_cast<int>(name.size()));
  CW_TRY(from_libfdt(node));
  CW_TRY(set_u64(fdt, node, abi::kPropSubtreePhys, phys.value()));
  CW_TRY(set_u64(fdt, node, abi::kPropSubtreeSize, size));
  return adopt(page);
}

bool RootFdt::remove_subtree(PhysAddr phys) {
  alignas(8) Page page = page_;
  void* fdt = page.data();
  int node;
  fdt_for_each_subnode(node, fdt, 0) {
    int length = 0;
    const void* value = fdt_getprop(fdt, node, abi::kPropSubtreePhys, &length);
    uint64_t found = 0;
    if (value == nullptr || length != sizeof found) continue;
    std::memcpy(&found, value, sizeof found);
    if (found != phys.value()) continue;
    return fdt_del_node(fdt, node) == 0 && adopt(page).has_value();
  }
  return false;
}

Status RootFdt::set_tree_root(PhysAddr root) {
  alignas(8) Page page = page_;
  const uint64_t value = root.value();
  CW_TRY(from_libfdt(fdt_setprop_inplace(page.data(), 0, abi::kPropMemoryMap, &value, sizeof value)));
  return adopt(page);
}

}  // namespace causeway::kho
