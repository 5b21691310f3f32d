#include "dept/kernel/sdt.h"

#include "dept/kernel/stage.h"

namespace causeway::dept::kernel {

void sdt_map_init(Map& map, const char* name, Site site) { map_init(map, nullptr, 0, name, site); }
void sdt_map_init_key(Map& map, const Key& key, const char* name, Site site) { map_init(map, &key, 0, name, site); }
void sdt_wait(Map& map, Site site) { sdt_wait_timeout(map, 0, site); }
void sdt_wait_timeout(Map& map, int64_t timeout, Site site) {
  request_event(map, nullptr, site);
  wait(map, bit(Event::kWrite), site, 0, timeout);
}
void sdt_request_event(Map& map, Site site) { request_event(map, nullptr, site); }
void sdt_event(Map& map, Site site) { event(map, Event::kWrite, site, nullptr); }
void sdt_ecxt_enter(Map& map, Site site) { ecxt_enter(map, Event::kWrite, site, 0); }
void sdt_ecxt_exit(Map& map) { ecxt_exit(map, bit(Event::kWrite)); }
void sdt_might_sleep_start(Map* map, int64_t timeout, Site site) { stage_wait(map, site, timeout); }
void sdt_might_sleep_end() { clean_stage(); }

}  // namespace causeway::dept::kernel
