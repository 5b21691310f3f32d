#include "luo/incoming.h"

#include <cstring>
#include <unordered_set>

#include "base/log.h"
#include "base/point.h"

namespace causeway::luo {
namespace {

template <typename T>
Result<const T*> preserved_page(kho::Kho& kho, PhysAddr at) {
  if (kho.preserved_order(at) != kOrder0) return fail(EINVAL, "LUO: not a preserved page");
  return kho.map().direct_map().to_virt<const T>(at);
}

Result<std::vector<IncomingFlb>> read_flbs(kho::Kho& kho, PhysAddr at) {
  std::vector<IncomingFlb> flbs;
  if (at == PhysAddr(0)) return flbs;
  const auto* header = CW_TRY(preserved_page<abi::FlbHeaderSer>(kho, at));
  if (header->page_count != 1) return fail(EINVAL, "LUO: the FLB area is not one page");
  if (header->count > abi::kMaxFlbs) return fail(EINVAL, "LUO: more FLBs than a page holds");
  const auto* entries = reinterpret_cast<const abi::FlbSer*>(header + 1);
  std::unordered_set<std::string_view> names;
  for (uint64_t i = 0; i < header->count; ++i) {
    const auto name = text_of(entries[i].name);
    if (!name.has_value()) return fail(EINVAL, "LUO: the name of an FLB is empty or does not end");
    if (!names.insert(*name).second) return fail(EINVAL, "LUO: two FLBs of one name");
    if (entries[i].count == 0) return fail(EINVAL, "LUO: an FLB that no file depends on");
    flbs.push_back({std::string(*name), entries[i].data, entries[i].count});
  }
  return flbs;
}

}  // namespace

Result<Incoming> read_incoming(kho::Kho& kho) {
  Incoming incoming;
  auto subtree = kho.retrieve_subtree(abi::kSubtree);
  if (!subtree.has_value()) {
    if (subtree.error().code == Errno{ENOENT}) return incoming;
    return fail(subtree.error());
  }
  // A larger blob is one with fields that this version does not know.
  if (subtree->size < sizeof(abi::Ser)) return fail(EINVAL, "LUO: the descriptor is too small");
  if (subtree->size > kPageSize) return fail(EINVAL, "LUO: the descriptor is larger than a page");
  const auto* ser = CW_TRY(preserved_page<abi::Ser>(kho, subtree->phys));
  if (std::memcmp(ser->compatible, abi::kCompatible, sizeof(ser->compatible)) != 0) {
    log::error("luo", "compatible string \"{}\", want \"{}\"",
               std::string(ser->compatible, ::strnlen(ser->compatible, sizeof(ser->compatible))), abi::kCompatible);
    return fail(EPROTO, "LUO: a version that is not ours");
  }
  CW_FAIL_POINT("luo.incoming.read");
  incoming.present = true;
  incoming.liveupdate_num = ser->liveupdate_num;
  const PhysAddr sessions_at(ser->sessions_pa);
  const PhysAddr flbs_at(ser->flbs_pa);
  if (flbs_at == subtree->phys) return fail(EINVAL, "LUO: the FLB page is the descriptor");
  incoming.flbs = CW_TRY(read_flbs(kho, flbs_at));
  // Claimed before the chain is followed, so that it cannot lead through them. If the chain is damaged they
  // stay allocated: nothing that is refused is given back.
  std::vector<mm::Page*> own{kho.restore_folio(subtree->phys)};
  if (flbs_at != PhysAddr(0)) own.push_back(kho.restore_folio(flbs_at));
  if (sessions_at != PhysAddr(0))
    incoming.sessions = CW_TRY(kho::BlockSet::restore(kho, sessions_at, sizeof(abi::SessionSer)));
  CW_POINT("luo.incoming.before_free");
  for (mm::Page* page : own)
    if (page != nullptr) kho.after_commit([&kho, page] { kho.allocator().put_page(page); });
  return incoming;
}

}  // namespace causeway::luo
