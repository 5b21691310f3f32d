// The root FDT of a handover under construction: compatible, the root of the tree, one node per
// subtree. Private to this room.
//
//   RootFdt fdt = CW_TRY(RootFdt::create(abi::kCompatible, tree.root()));
//   CW_TRY(fdt.add_subtree("LUO", PhysAddr(0x102000), 32));
//   std::memcpy(page, fdt.bytes().data(), fdt.bytes().size());
//
// Packed after every change, never larger than a page. A change that fails leaves it as it was. It lives
// in ordinary memory: the page that the next kernel reads is only ever written whole.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace causeway::kho {

class RootFdt {
 public:
  // ENOMEM: `compatible` does not fit (it is a constant: cannot happen).
  static Result<RootFdt> create(std::string_view compatible, PhysAddr tree_root);

  // EEXIST: a subtree of that name; EINVAL: not a name of a node; ENOMEM: does not fit the page.
  Status add_subtree(std::string_view name, PhysAddr phys, uint64_t size);
  // The first subtree whose blob is at `phys`. False: none.
  bool remove_subtree(PhysAddr phys);
  Status set_tree_root(PhysAddr root);

  std::span<const std::byte> bytes() const { return {page_.data(), size_}; }

 private:
  using Page = std::array<std::byte, kPageSize>;
  RootFdt() = default;
  // Takes the place of the present state if it can be packed.
  Status adopt(Page& page);
  alignas(8) Page page_{};
  uint64_t size_ = 0;  // bytes in use
};

}  // namespace causeway::kho
