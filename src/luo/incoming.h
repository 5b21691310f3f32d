// What the previous kernel handed over, read out of memory that is not trusted (stage A of the boot).
//
//   auto incoming = read_incoming(kho);       // an error: damaged; everything stays reserved
//   if (incoming && incoming->present) ...
//
// Checked: the blob's size and compatible string, the chain of session blocks, the names of the sessions, and the FLB
// page: preserved, of one page, at most 63 entries, names that end and differ, counts that are not 0. The files
// of a session are read with the session (FileSet::deserialize).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kho/block_set.h"
#include "luo/abi/luo_v5.h"

namespace causeway::luo {

struct IncomingFlb {
  std::string name;
  uint64_t data = 0;
  uint64_t files = 0;  // that depend on it
};

struct Incoming {
  bool present = false;              // the previous kernel had LUO
  uint64_t liveupdate_num = 0;
  std::optional<kho::BlockSet> sessions;  // of abi::SessionSer
  std::vector<IncomingFlb> flbs;
};

// Not present: no KHO boot, or no subtree. EINVAL: damaged; EPROTO: a compatible string that is not ours.
// On success the descriptor page and the FLB page are given back (at commit()).
Result<Incoming> read_incoming(kho::Kho& kho);

// The text of a fixed field, or nothing if it is empty or does not end inside the field.
template <size_t N>
std::optional<std::string_view> text_of(const char (&field)[N]) {
  const std::string_view all(field, N);
  const size_t end = all.find('\0');
  if (end == 0 || end == std::string_view::npos) return std::nullopt;
  return all.substr(0, end);
}

}  // namespace causeway::luo
