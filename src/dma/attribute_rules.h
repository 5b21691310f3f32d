// Which DMA attributes make an allocation what it is, and which are only advice.
//
//   record.attrs = static_cast<uint64_t>(canonical_attrs(attrs, device.traits().coherent));
//   if (const char* reason = incompatibility(recorded, now)) return fail(EINVAL, reason);
//
// A driver that was updated together with the kernel may ask for its memory with other attributes than
// its predecessor. What changes the mapping, the ownership or the coherency of the memory must be
// the same; hints and debugging aids may differ. The same comparison tells whether a free goes with its
// alloc.
#pragma once

#include "dma/attributes.h"

namespace causeway::dma {

// The attributes that must not change. Write-combining counts for incoherent devices only: a coherent one
// never gets another mapping than the cached one.
Attr canonical_attrs(Attr attrs, bool coherent);

// Why memory allocated with `recorded` may not be used with `now`, both canonical; null if it may.
const char* incompatibility(Attr recorded, Attr now);

}  // namespace causeway::dma
