#include "dma/attribute_rules.h"

namespace causeway::dma {

namespace {

struct Rule {
  Attr attr;
  const char* reason;
};

constexpr Rule kRules[] = {
    {Attr::kNoKernelMapping, "no-kernel-mapping differs from what was recorded"},
    {Attr::kWriteCombine, "write-combining differs from what was recorded"},
    {Attr::kPrivileged, "privileged differs from what was recorded"},
    {Attr::kForceContiguous, "force-contiguous differs from what was recorded"},
    {Attr::kCcShared, "sharing with the host differs from what was recorded"},
    {Attr::kAllocCcShared, "sharing with the host differs from what was recorded"},
};

}  // namespace

Attr canonical_attrs(Attr attrs, bool coherent) {
  Attr canonical = Attr::kNone;
  for (const Rule& rule : kRules) {
    if (rule.attr == Attr::kWriteCombine && coherent) continue;
    canonical = canonical | (attrs & rule.attr);
  }
  return canonical;
}

const char* incompatibility(Attr recorded, Attr now) {
  if (recorded == now) return nullptr;
  for (const Rule& rule : kRules)
    if (has(recorded, rule.attr) != has(now, rule.attr)) return rule.reason;
  return "unknown attributes were recorded";
}

}  // namespace causeway::dma
