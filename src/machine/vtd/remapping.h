// The remapping units of a machine: which of them each device is behind, and the table that tells the kernel so.
//
//   Remapping remapping;
//   CW_TRY(remapping.add(spec, environment));
//   std::unique_ptr<TranslationPort> port = remapping.open(bdf);   // the identity where no unit is responsible
//   remapping.write_table(bus.firmware_table());
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "machine/translation.h"
#include "machine/vtd/unit.h"

namespace causeway::machine::vtd {

class Remapping final : public TranslationSource {
 public:
  // EINVAL: more units than there is room for, two for one device, two for all the others.
  Status add(const IommuSpec& spec, const Unit::Environment& environment);
  std::unique_ptr<TranslationPort> open(Bdf requester) override;

  // The unit responsible for a device, or null.
  Unit* unit_of(Bdf requester) const;
  const std::vector<std::unique_ptr<Unit>>& units() const { return units_; }
  // The DMAR table (hw/dmar.h); nothing if there are no units. `page` is kPageSize zero bytes.
  Status write_table(std::byte* page) const;

 private:
  IdentityTranslation identity_;
  std::vector<std::unique_ptr<Unit>> units_;
};

}  // namespace causeway::machine::vtd
