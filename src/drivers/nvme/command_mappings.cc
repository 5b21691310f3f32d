#include "drivers/nvme/command_mappings.h"

#include <utility>

namespace causeway::drivers::nvme {

using abi::MappingRecord;

Status CommandMappings::allocate() {
  // Not zeroed: a record is written before it is looked at, and most of its page never is.
  mm::Page* page = CW_TRY(kho_.allocator().alloc_pages(order(), mm::kGfpKernel | mm::Gfp::kComp));
  records_ = kho_.map().address_as<MappingRecord>(page);
  return {};
}

Status CommandMappings::restore(PhysAddr phys) {
  if (kho_.preserved_order(phys) != order()) return fail(EINVAL, "the commands' mappings were not preserved");
  mm::Page* page = kho_.restore_folio(phys);
  if (page == nullptr) return fail(EINVAL, "the commands' mappings were not preserved");
  records_ = kho_.map().address_as<MappingRecord>(page);
  return {};
}

Status CommandMappings::preserve() {
  return in_use() ? kho_.preserve_folio(kho_.map().page_of_address(records_)) : Status{};
}

void CommandMappings::release() {
  if (!in_use()) return;
  mm::Page* page = kho_.map().page_of_address(std::exchange(records_, nullptr));
  if (kho_.is_enabled()) kho_.unpreserve_folio(page);
  kho_.allocator().put_page(page);
}

uint64_t CommandMappings::phys_value() const {
  return in_use() ? kho_.map().direct_map().to_phys(records_).value() : 0;
}

Status CommandMappings::record(uint32_t index, const BlockMapping& mapping) {
  if (!in_use()) return {};
  MappingRecord& record = records_[index];
  record.flags = mapping.direction == dma::Direction::kFromDevice ? abi::kFromDevice : 0u;
  if (mapping.peer == dma::P2pType::kThruHostBridge) record.flags |= abi::kMmio;
  record.reserved = 0;
  if (!mapping.live) {
    record.count = 0;
    return {};
  }
  if (mapping.iova.in_use()) {
    record.flags |= abi::kOneRange;
    record.piece[0] = {mapping.iova.address.value(), mapping.total};
    record.count = 1;
    return {};
  }
  if (mapping.pieces.size() > abi::kMaxPieces) return fail(E2BIG, "more pieces of memory than can be handed over");
  for (size_t i = 0; i < mapping.pieces.size(); ++i)
    record.piece[i] = {mapping.pieces[i].address.value(), mapping.pieces[i].length};
  record.count = static_cast<uint32_t>(mapping.pieces.size());
  return {};
}

Status CommandMappings::claim(dma::Device& device, uint32_t index, BlockMapping& mapping) const {
  if (!in_use()) return {};
  const MappingRecord& record = records_[index];
  if (record.count > abi::kMaxPieces || (record.flags & ~(abi::kOneRange | abi::kMmio | abi::kFromDevice)) != 0 ||
      ((record.flags & abi::kOneRange) != 0 && record.count != 1))
    return fail(EINVAL, "the mapping of a command in flight is damaged");
  if (record.count == 0) return {};
  const bool mmio = (record.flags & abi::kMmio) != 0;
  const dma::Attr attrs = mmio ? dma::Attr::kMmio : dma::Attr::kNone;
  mapping.iova = {};
  mapping.pieces.clear();
  mapping.peer = mmio ? dma::P2pType::kThruHostBridge : dma::P2pType::kNone;
  mapping.direction = (record.flags & abi::kFromDevice) != 0 ? dma::Direction::kFromDevice : dma::Direction::kToDevice;
  mapping.live = true;
  mapping.total = 0;
  if ((record.flags & abi::kOneRange) != 0) {
    const MappingRecord::Piece& range = record.piece[0];
    CW_TRY(dma::iova_restore(device, mapping.iova, DmaAddr(range.address), range.length, mapping.direction, attrs));
    mapping.total = range.length;
    return {};
  }
  for (uint32_t i = 0; i < record.count; ++i) {
    const MappingRecord::Piece& piece = record.piece[i];
    CW_TRY(dma::restore_mapping(device, DmaAddr(piece.address), piece.length, mapping.direction, attrs));
    mapping.pieces.push_back({DmaAddr(piece.address), piece.length});
    mapping.total += piece.length;
  }
  return {};
}

}  // namespace causeway::drivers::nvme
