#include "iommu/vtd/stage.h"

#include <algorithm>
#include <memory>

namespace causeway::iommu::vtd {

namespace {

// Of address bits: 1, 2, 3 for 39, 48, 57.
unsigned width_for(unsigned bits) { return bits <= 39 ? 1 : bits <= 48 ? 2 : 3; }

Result<Format> first_stage(const Capabilities& caps) {
  Format format{.stage = Stage::kFirst};
  format.address_bits = std::min(caps.guest_address_bits(), caps.first_stage_5_levels() ? 57u : 48u);
  format.page_sizes = KiB(4) | MiB(2) | (caps.first_stage_1g() ? GiB(1) : 0);
  return format;
}

Result<Format> second_stage(const Capabilities& caps) {
  if (caps.widest() == 0) return fail(EOPNOTSUPP, "the unit walks tables of no width that is known");
  Format format{.stage = Stage::kSecond};
  format.address_bits = std::min(caps.guest_address_bits(), Capabilities::bits_of_width(caps.widest()));
  format.page_sizes = KiB(4) | (caps.second_stage_2m() ? MiB(2) : 0) | (caps.second_stage_1g() ? GiB(1) : 0);
  return format;
}

bool can_track_dirty(const Capabilities& caps, bool scalable) {
  return scalable && caps.second_stage_dirty() && caps.coherent_page_walks(true);
}

}  // namespace

Result<Format> format_of(Stage stage, const Capabilities& caps) {
  return stage == Stage::kFirst ? first_stage(caps) : second_stage(caps);
}

Result<Format> choose_format(const Capabilities& caps, bool scalable, uint32_t flags) {
  if ((flags & ~(kNestParent | kDirtyTracking | kAllocPasid)) != 0) return fail(EOPNOTSUPP, "an unknown flag");
  if ((flags & kNestParent) != 0 && !(scalable && caps.nested())) return fail(EOPNOTSUPP, "the unit cannot nest");
  if ((flags & kDirtyTracking) != 0 && !can_track_dirty(caps, scalable))
    return fail(EOPNOTSUPP, "the unit cannot track dirty pages");
  const bool first = scalable && caps.first_stage() && (flags & (kNestParent | kDirtyTracking)) == 0;
  if (!first && scalable && !caps.second_stage()) return fail(EOPNOTSUPP, "the unit has no second stage");
  Format format = CW_TRY(format_of(first ? Stage::kFirst : Stage::kSecond, caps));
  format.coherent = caps.coherent_page_walks(scalable);
  format.dirty_tracking = (flags & kDirtyTracking) != 0;
  format.nest_parent = (flags & kNestParent) != 0;
  return format;
}

Status check_compatible(const Format& format, const Capabilities& caps, bool scalable) {
  if (format.stage == Stage::kFirst) {
    if (!scalable || !caps.first_stage()) return fail(EINVAL, "the unit has no first stage");
    if (format.address_bits > 48 && !caps.first_stage_5_levels())
      return fail(EINVAL, "the unit walks first-stage tables of four levels alone");
    if ((format.page_sizes & GiB(1)) != 0 && !caps.first_stage_1g())
      return fail(EINVAL, "the unit has no first-stage leaves of 1 GiB");
  } else {
    if (scalable && !caps.second_stage()) return fail(EINVAL, "the unit has no second stage");
    if (!caps.supports_width(width_for(format.address_bits)))
      return fail(EINVAL, "the unit does not walk second-stage tables of so many levels");
    if (format.address_bits > caps.guest_address_bits()) return fail(EINVAL, "the unit has fewer address bits");
    if ((format.page_sizes & MiB(2)) != 0 && !caps.second_stage_2m())
      return fail(EINVAL, "the unit has no second-stage leaves of 2 MiB");
    if ((format.page_sizes & GiB(1)) != 0 && !caps.second_stage_1g())
      return fail(EINVAL, "the unit has no second-stage leaves of 1 GiB");
  }
  if (format.coherent && !caps.coherent_page_walks(scalable))
    return fail(EINVAL, "the unit does not snoop its walks, and the tables are not flushed");
  if (format.dirty_tracking && !can_track_dirty(caps, scalable)) return fail(EINVAL, "the unit cannot track dirty pages");
  if (format.forced_snoop && !caps.snoop_control()) return fail(EINVAL, "the unit cannot force coherence");
  if (format.nest_parent && !(scalable && caps.nested())) return fail(EINVAL, "the unit cannot nest");
  return {};
}

Result<std::unique_ptr<IoPageTable>> make_table(const Format& format, IommuPages& pages, IoPageTable::Hooks hooks) {
  PageTableOptions options{.pages = pages, .max_vasz_lg2 = format.address_bits, .page_sizes = format.page_sizes};
  options.features = kFlushRange;
  if (!format.coherent) options.features |= kDmaIncoherent;
  options.hooks = std::move(hooks);
  if (format.stage == Stage::kFirst) {
    options.features |= kSignExtend;
    return make_x86_64(options);
  }
  if (format.forced_snoop) options.features |= kForceCoherence;
  return make_vtdss(options);
}

}  // namespace causeway::iommu::vtd
