#include "inspect/root_reader.h"

#include <libfdt.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "base/printable.h"
#include "kho/abi/kho_v4.h"
#include "kho/abi/typed_v1.h"

namespace causeway::inspect {
namespace {

namespace abi = kho::abi;

constexpr const char* kIgnored =
    "Linux 7.3 boots as if nothing had been handed over, all preserved memory is lost silently";
constexpr size_t kMaxSubtrees = 256;  // more than fit a page

struct FdtCopy {
  alignas(8) std::array<std::byte, kPageSize> bytes{};
  uint64_t size = 0;
};

// The page, as much of it as there is. size 0: nothing.
FdtCopy copy_fdt(const Memory& memory, PhysAddr fdt) {
  FdtCopy copy;
  uint64_t size = kPageSize;
  const std::byte* source = memory.at(fdt, size);
  // The end of a raw image need not be the end of a page.
  for (; source == nullptr && size > sizeof(fdt_header); size -= 4) source = memory.at(fdt, size - 4);
  if (source == nullptr) return copy;
  std::memcpy(copy.bytes.data(), source, size);
  copy.size = size;
  return copy;
}

std::string compatible_of(const void* fdt) {
  int length = 0;
  const auto* value = static_cast<const char*>(fdt_getprop(fdt, 0, abi::kPropCompatible, &length));
  if (value == nullptr || length <= 0) return "";
  return std::string(value, strnlen(value, static_cast<size_t>(length)));
}

bool is_terminated(const void* fdt, const char* name) {
  int length = 0;
  const auto* value = static_cast<const char*>(fdt_getprop(fdt, 0, name, &length));
  return value != nullptr && length > 0 && strnlen(value, static_cast<size_t>(length)) + 1 == static_cast<size_t>(length);
}

void read_subtrees(const void* fdt, PhysAddr at, Root& root, Findings& findings) {
  std::set<std::string> names;
  int node;
  fdt_for_each_subnode(node, fdt, 0) {
    int length = 0;
    const char* name = fdt_get_name(fdt, node, &length);
    if (name == nullptr || root.subtrees.size() >= kMaxSubtrees) continue;
    Subtree subtree{.name = printable({name, static_cast<size_t>(length)})};
    const auto phys = fdt_u64(fdt, node, abi::kPropSubtreePhys);
    const auto size = fdt_u64(fdt, node, abi::kPropSubtreeSize);
    if (!names.insert(subtree.name).second)
      findings.error("fdt.duplicate-subtree", at, "two subtrees are named \"{}\": only the first can be found",
                     subtree.name);
    if (!phys.has_value() || !size.has_value()) {
      findings.error("fdt.subtree-properties", at,
                     "subtree \"{}\": {} is missing or not 8 bytes: Linux 7.3 answers its owner with EINVAL", subtree.name,
                     phys.has_value() ? abi::kPropSubtreeSize : abi::kPropSubtreePhys);
      continue;
    }
    subtree.phys = PhysAddr(*phys);
    subtree.size = *size;
    root.subtrees.push_back(std::move(subtree));
  }
}

}  // namespace

std::optional<uint64_t> fdt_u64(const void* fdt, int node, const char* name) {
  int length = 0;
  const void* payload = fdt_getprop(fdt, node, name, &length);
  uint64_t value = 0;
  if (payload == nullptr || length != static_cast<int>(sizeof value)) return std::nullopt;
  std::memcpy(&value, payload, sizeof value);
  return value;
}

Root read_root(const Memory& memory, PhysAddr fdt, Findings& findings) {
  Root root;
  if (!fdt.is_aligned(kPageSize) || fdt == PhysAddr(0)) {
    findings.error("fdt.alignment", fdt, "the root FDT is not page aligned, or at 0: {}", kIgnored);
    if (fdt == PhysAddr(0)) return root;
  }
  FdtCopy copy = copy_fdt(memory, fdt);
  if (copy.size < sizeof(fdt_header)) {
    findings.error("fdt.not-in-image", fdt, "the image does not hold the root FDT");
    return root;
  }
  void* bytes = copy.bytes.data();
  if (fdt_magic(bytes) == FDT_MAGIC && fdt_totalsize(bytes) > kPageSize) {
    findings.error("fdt.over-page", fdt, "the root FDT says {} bytes, want one page of {}: {}", fdt_totalsize(bytes),
                   kPageSize, kIgnored);
    return root;
  }
  if (const int error = fdt_check_full(bytes, copy.size); error != 0) {
    findings.error("fdt.damaged", fdt, "the root FDT does not parse ({}): {}", fdt_strerror(error), kIgnored);
    return root;
  }
  constexpr uint32_t kOldestVersion = 16;  // nodes carried whole paths before
  if (fdt_version(bytes) < kOldestVersion) {
    findings.error("fdt.version", fdt, "FDT version {}, want {} or later: {}", fdt_version(bytes), kOldestVersion,
                   kIgnored);
    return root;
  }
  root.bytes = fdt_totalsize(bytes);
  constexpr uint64_t kSubtreeBytes = 64;
  if (root.bytes + kSubtreeBytes > kPageSize)
    findings.note("fdt.full", fdt, "{} of {} bytes are in use: no room for another subtree", root.bytes, kPageSize);

  const std::string compatible = compatible_of(bytes);
  root.compatible = printable(compatible);
  if (compatible == abi::kTypedCompatible) {
    root.format = kho::Format::kTyped;
  } else if (compatible != abi::kCompatible) {
    findings.error("fdt.compatible", fdt, "\"{}\", want \"{}\" (read as if it were): {}", root.compatible,
                   abi::kCompatible, kIgnored);
  }
  if (!compatible.empty() && !is_terminated(bytes, abi::kPropCompatible))
    findings.error("fdt.compatible-length", fdt, "the compatible property is not one string with its NUL: {}", kIgnored);

  if (const auto map = fdt_u64(bytes, 0, abi::kPropMemoryMap); !map.has_value())
    findings.error("fdt.memory-map", fdt, "{} is missing or not 8 bytes: {}", abi::kPropMemoryMap, kIgnored);
  else if (*map == 0)
    findings.error("fdt.memory-map", fdt, "{} is 0: {}", abi::kPropMemoryMap, kIgnored);
  else
    root.map_root = PhysAddr(*map);
  read_subtrees(bytes, fdt, root, findings);
  return root;
}

std::vector<Candidate> find_roots(const Memory& memory, size_t limit) {
  struct Found {
    Candidate candidate;
    uint32_t kexec_count = 0;
  };
  std::vector<Found> found;
  memory.for_each_extent(PhysAddr(0), ~uint64_t{0}, [&](PhysAddr base, uint64_t bytes) {
    const uint64_t end = base.value() + bytes;
    for (uint64_t page = align_up(base.value(), kPageSize); page < end && end - page >= sizeof(fdt_header);
         page += kPageSize) {
      const std::byte* start = memory.at(PhysAddr(page), sizeof(uint32_t));
      if (start == nullptr || page == 0) continue;
      uint32_t magic = 0;
      std::memcpy(&magic, start, sizeof magic);
      if (fdt32_to_cpu(magic) != FDT_MAGIC) continue;
      Findings ignored(0);
      const Root root = read_root(memory, PhysAddr(page), ignored);
      if (root.bytes == 0) continue;
      if (root.compatible.rfind("kho-v", 0) != 0 && root.compatible != abi::kTypedCompatible) continue;
      Found one{.candidate = {.fdt = PhysAddr(page), .compatible = root.compatible}};
      for (const Subtree& subtree : root.subtrees) {
        const std::byte* blob = memory.at(subtree.phys, sizeof(abi::KexecMetadata));
        if (subtree.name == abi::kMetadataSubtree && blob != nullptr)
          std::memcpy(&one.kexec_count, blob + offsetof(abi::KexecMetadata, kexec_count), sizeof one.kexec_count);
      }
      if (root.map_root != PhysAddr(0)) {
        Findings damage(0);
        // A candidate is no reason to walk long: a handful of leaves tells whether it is one.
        Tree tree(memory, root.format, {.max_nodes = uint64_t{1} << 17});
        tree.read(root.map_root, damage);
        one.candidate.entries = tree.stats().blocks;
        one.candidate.intact = damage.problems() == 0 && tree.is_preserved(PhysAddr(page), kPageSize);
      }
      found.push_back(std::move(one));
      if (found.size() >= limit) return false;
    }
    return true;
  });
  std::stable_sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    if (a.candidate.intact != b.candidate.intact) return a.candidate.intact;
    return a.kexec_count > b.kexec_count;
  });
  std::vector<Candidate> candidates;
  for (Found& one : found) candidates.push_back(std::move(one.candidate));
  return candidates;
}

}  // namespace causeway::inspect
