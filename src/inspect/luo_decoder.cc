// LUO: sessions, their files, and the FLBs.
#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "base/printable.h"
#include "iommu/abi/iommu_v1.h"
#include "inspect/decoders.h"
#include "luo/abi/luo_v5.h"

namespace causeway::inspect {
namespace {

namespace abi = luo::abi;

// What a broken structure comes to depends on when the kernel looks at it.
constexpr const char* kPanics = "Linux 7.3 panics at boot";
constexpr const char* kNoDevice = "Linux 7.3 answers every open of /dev/liveupdate with EIO, no session can be retrieved";

void decode_files(Context& context, Session& session, const abi::FileSetSer& set, PhysAddr at) {
  std::vector<uint64_t> tokens;
  const auto entries = context.for_each_entry(
      PhysAddr(set.files), sizeof(abi::FileSer), "a block of files", kNoDevice,
      [&](const std::byte* bytes, PhysAddr entry) {
        abi::FileSer ser;
        std::memcpy(&ser, bytes, sizeof ser);
        const auto compatible = text_field(ser.compatible, sizeof ser.compatible);
        if (!compatible.has_value())
          context.findings.error("luo.file-compatible", entry,
                                 "the compatible string of a file of session \"{}\" is not terminated: {}", session.name,
                                 kNoDevice);
        tokens.push_back(ser.token);
        // Beyond the limit a file is still decoded, for what is wrong with it.
        File file{.compatible = printable(compatible.value_or(std::string(ser.compatible, sizeof ser.compatible))),
                  .data = ser.data,
                  .token = ser.token};
        if (!decode_file(context, file, entry) && compatible.has_value())
          context.findings.error("luo.handler", entry,
                                 "session \"{}\", token {:#x}: no handler \"{}\" is known: if the kernel has none, {}",
                                 session.name, file.token, file.compatible, kNoDevice);
        if (context.files_kept < context.options.max_files) {
          ++context.files_kept;
          session.files.push_back(std::move(file));
        } else {
          ++session.files_omitted;
        }
      });
  if (entries.has_value() && *entries != set.count)
    context.findings.error("luo.file-count", at, "session \"{}\" says {} files and lists {}: {}", session.name, set.count,
                           *entries, kNoDevice);
  std::sort(tokens.begin(), tokens.end());
  for (auto same = std::adjacent_find(tokens.begin(), tokens.end()); same != tokens.end();
       same = std::adjacent_find(std::upper_bound(same, tokens.end(), *same), tokens.end()))
    context.findings.error("luo.duplicate-token", at,
                           "session \"{}\" has token {:#x} more than once: only the first can be retrieved", session.name,
                           *same);
}

void decode_sessions(Context& context, Luo& luo, PhysAddr head) {
  std::unordered_set<std::string> names;
  (void)context.for_each_entry(
      head, sizeof(abi::SessionSer), "a block of sessions", kPanics, [&](const std::byte* bytes, PhysAddr at) {
        abi::SessionSer ser;
        std::memcpy(&ser, bytes, sizeof ser);
        const auto name = text_field(ser.name, sizeof ser.name);
        if (!name.has_value())
          context.findings.error("luo.session-name", at, "the name of a session is not terminated: Linux 7.3 cuts it off");
        Session session{.name = printable(name.value_or(std::string(ser.name, sizeof ser.name))),
                        .count = ser.file_set.count};
        if (session.name.empty())
          context.findings.error("luo.session-name", at, "the name of a session is empty: nobody can retrieve it");
        if (!names.insert(session.name).second)
          context.findings.error("luo.duplicate-session", at, "two sessions are named \"{}\": {}", session.name, kNoDevice);
        decode_files(context, session, ser.file_set, at);
        luo.sessions.push_back(std::move(session));
      });
}

void decode_flbs(Context& context, Luo& luo, PhysAddr at) {
  const auto page = context.follow(at, "the FLB page", "Linux 7.3 reads there without a check");
  if (!page.has_value()) return;
  const auto header = page->as<abi::FlbHeaderSer>(0);
  if (header.page_count != 1)
    context.findings.warning("luo.flb-pages", at, "the FLBs say {} pages, want 1", header.page_count);
  if (header.count > abi::kMaxFlbs)
    context.findings.error("luo.flb-count", at, "{} FLBs, want at most {}: Linux 7.3 reads beyond the page", header.count,
                           abi::kMaxFlbs);
  std::unordered_set<std::string> names;
  for (uint64_t i = 0; i < std::min(header.count, abi::kMaxFlbs); ++i) {
    const uint64_t offset = sizeof header + i * sizeof(abi::FlbSer);
    const auto ser = page->as<abi::FlbSer>(offset);
    const auto name = text_field(ser.name, sizeof ser.name);
    if (!name.has_value())
      context.findings.error("luo.flb-name", at + offset, "the name of FLB {} is not terminated", i);
    luo.flbs.push_back({printable(name.value_or(std::string(ser.name, sizeof ser.name))), ser.data, ser.count});
    if (!names.insert(luo.flbs.back().name).second)
      context.findings.error("luo.duplicate-flb", at + offset, "two FLBs are named \"{}\": only the first can be found",
                             luo.flbs.back().name);
    else if (luo.flbs.back().name == iommu::abi::kCompatible)
      context.iommu_carriers.push_back({"LUO FLB", PhysAddr(ser.data), sizeof(iommu::abi::IommuFlbSer)});
    if (ser.count == 0)
      context.findings.warning("luo.flb-unused", at + offset, "FLB \"{}\" has count 0: it is never finished",
                               luo.flbs.back().name);
  }
}

}  // namespace

void decode_luo(Context& context, Subtree& subtree) {
  if (subtree.size < sizeof(abi::Ser)) {
    context.findings.error("luo.blob-size", subtree.phys, "the LUO blob has {} bytes, want {}: {}", subtree.size,
                           sizeof(abi::Ser), kPanics);
    return;
  }
  const auto blob = context.blob(subtree.phys, sizeof(abi::Ser), sizeof(abi::Ser), "the LUO blob", kPanics);
  if (blob.size() < sizeof(abi::Ser)) return;
  abi::Ser ser;
  std::memcpy(&ser, blob.data(), sizeof ser);

  Luo luo{.phys = subtree.phys,
          .compatible = printable({ser.compatible, strnlen(ser.compatible, sizeof ser.compatible)}),
          .liveupdate_num = ser.liveupdate_num};
  if (std::memcmp(ser.compatible, abi::kCompatible, sizeof abi::kCompatible) != 0) {
    context.findings.error("luo.compatible", subtree.phys, "LUO is \"{}\", want \"{}\" padded with zeros: {}",
                           luo.compatible, abi::kCompatible, kPanics);
    // Another layout: what lies behind it would be guesswork.
    if (luo.compatible != abi::kCompatible) {
      context.report.luo = std::move(luo);
      return;
    }
  }
  subtree.format = abi::kCompatible;
  if (luo.liveupdate_num == 0)
    context.findings.warning("luo.number", subtree.phys, "the number of the live update is 0, want 1 or more");
  decode_sessions(context, luo, PhysAddr(ser.sessions_pa));
  decode_flbs(context, luo, PhysAddr(ser.flbs_pa));
  context.report.luo = std::move(luo);
}

}  // namespace causeway::inspect
