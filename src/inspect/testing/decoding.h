// Decodes an image that a test has built.
//
//   Decoded decoded(image.core());
//   EXPECT_TRUE(decoded.found("luo.compatible"));
#pragma once

#include <string>
#include <vector>

#include "inspect/decode.h"
#include "inspect/image_file.h"

namespace causeway::inspect {

struct Decoded {
  explicit Decoded(std::vector<std::byte> image, std::optional<PhysAddr> fdt = {}, std::optional<Bdf> device = {})
      : bytes(std::move(image)) {
    auto opened = ImageFile::from_bytes(bytes);
    if (!opened.has_value()) std::abort();
    file.emplace(std::move(*opened));
    Options options = options_for(*file);
    options.fdt = fdt;
    if (device.has_value()) options.device = {0, *device};
    report = decode(file->memory(), options);
  }

  // The finding of a rule, or null.
  const Finding* find(std::string_view rule) const {
    for (const Finding& finding : report.findings.list())
      if (rule == finding.rule) return &finding;
    return nullptr;
  }
  bool found(std::string_view rule) const { return find(rule) != nullptr; }
  // What the rule's finding says, "" if there is none.
  std::string text(std::string_view rule) const { return found(rule) ? find(rule)->text : ""; }
  // All rules found, for a test's message.
  std::string rules() const {
    std::string all;
    for (const Finding& finding : report.findings.list()) all += std::string(finding.rule) + " ";
    return all;
  }

  std::vector<std::byte> bytes;
  std::optional<ImageFile> file;
  Report report;
};

}  // namespace causeway::inspect
