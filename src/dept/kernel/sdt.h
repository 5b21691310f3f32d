// Single events, for everybody: something is waited for, somebody makes it happen.
//
//   kernel::sdt_map_init(map, "dma.drain", site);
//   kernel::sdt_wait(map, site);                      // just before blocking: a request and a wait
//   kernel::sdt_event(map, site);                     // just before the wake-up
//
//   kernel::sdt_might_sleep_start(nullptr, 0, site);  // code that may come to sleep: the outermost of these counts
//   ...                                               // (stage.h); null: the place is the class
//   kernel::sdt_might_sleep_end();
#pragma once

#include "dept/kernel/raw.h"

namespace causeway::dept::kernel {

void sdt_map_init(Map& map, const char* name, Site site);
void sdt_map_init_key(Map& map, const Key& key, const char* name, Site site);
void sdt_wait(Map& map, Site site);
void sdt_wait_timeout(Map& map, int64_t timeout, Site site);
void sdt_request_event(Map& map, Site site);
void sdt_event(Map& map, Site site);
// Around a stretch that is known to lead to the event.
void sdt_ecxt_enter(Map& map, Site site);
void sdt_ecxt_exit(Map& map);
void sdt_might_sleep_start(Map* map, int64_t timeout, Site site);
void sdt_might_sleep_end();

}  // namespace causeway::dept::kernel
