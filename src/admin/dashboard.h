// The dashboard: one HTML page with its style and script inside, which asks /api/v1/status and
// /api/v1/nodes every two seconds. It shows what it is told as text, never as markup.
#pragma once

namespace infinicache::admin {

extern const char kDashboardHtml[];

}  // namespace infinicache::admin
