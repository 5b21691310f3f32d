// The decoders of this room, one per format and version. Private to this room.
//
// A new record, or a new version of one: write its decoder and add a row to the table in decoders.cc.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "inspect/context.h"
#include "inspect/report.h"

namespace causeway::inspect {

// Finds the decoder for a subtree by its name or by what its blob says it is, and runs it.
void decode_subtree(Context& context, Subtree& subtree);

// By subtree name: their layouts are the kernel's, and fill fields of the report of their own.
void decode_kexec_metadata(Context& context, Subtree& subtree);
void decode_luo(Context& context, Subtree& subtree);
// Notes where it is, for decode_iommu(); likewise an FLB of that name.
void note_iommu(Context& context, Subtree& subtree);

// By compatible string of an FDT blob. `fdt` has been checked.
void decode_memblock(Context& context, Subtree& subtree, const void* fdt);
void decode_kho_test(Context& context, Subtree& subtree, const void* fdt);

// By compatible string at the start of the blob.
void decode_dma_engine(Context& context, Subtree& subtree, std::span<const std::byte> blob);
void decode_allocation_pool(Context& context, Subtree& subtree, std::span<const std::byte> blob);

// A preserved file, by the compatible string of its handler. False: no decoder for it.
bool decode_file(Context& context, File& file, PhysAddr at);
void decode_memfd(Context& context, File& file);

inline Item number(std::string name, uint64_t value) { return {std::move(name), value}; }
inline Item address(std::string name, uint64_t value) { return {std::move(name), value, Item::Show::kAddress}; }
inline Item bytes(std::string name, uint64_t value) { return {std::move(name), value, Item::Show::kBytes}; }
inline Item text(std::string name, std::string value) { return {std::move(name), std::move(value)}; }

}  // namespace causeway::inspect
