#include "admin/dashboard.h"

namespace infinicache::admin {

const char kDashboardHtml[] = R"html(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>InfiniCache</title>
<style>
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --line: #dfe3e8; --text: #1c2430; --dim: #64707f;
  --good: #1a7f4b; --warn: #a86400; --bad: #c0312b; --fill: #2f6fdb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1b212a; --line: #2d3540; --text: #e4e9f0; --dim: #93a0b0;
    --good: #3fbf7f; --warn: #e0a33c; --bad: #f0716b; --fill: #5b93f0;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 20px; background: var(--page);
  color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 6px 14px; }
h1 { font-size: 21px; margin: 0; }
h2 { font-size: 13px; margin: 26px 0 8px; color: var(--dim); font-weight: 600; }
h2 span { font-weight: 400; margin-left: 6px; }
.dim { color: var(--dim); }
#health { padding: 2px 11px; border-radius: 99px; color: var(--page); background: var(--dim);
  font-weight: 600; }
#health.good { background: var(--good); }
#health.warn { background: var(--warn); }
#health.bad { background: var(--bad); }
.grid { display: grid; gap: 10px; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); }
.nodes { grid-template-columns: repeat(auto-fill, minmax(156px, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 12px; min-width: 0; }
.card b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; }
.card .label { color: var(--dim); font-size: 13px; }
.card.warn b { color: var(--warn); }
.card.bad b { color: var(--bad); }
.node { border-left: 4px solid; font-size: 13px; font-variant-numeric: tabular-nums; }
.node { --state: var(--dim); border-left-color: var(--state); }
.node .state { color: var(--state); font-weight: 600; }
.node.active { --state: var(--good); }
.node.asleep { --state: var(--fill); background: none; border-style: dashed;
  border-left-style: solid; }
.node.waking, .node.starting { --state: var(--warn); }
.node.down { --state: var(--bad); }
.wide { grid-column: span 2; }
.parts { display: flex; }
.parts i:nth-child(2) { background: var(--warn); }
.parts i:nth-child(3) { background: var(--good); }
.parts i:nth-child(4) { background: var(--bad); }
.parts i:nth-child(5) { background: var(--dim); }
.bar { height: 6px; margin: 7px 0 5px; border-radius: 3px; background: var(--line);
  overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--fill); }
.row { display: flex; justify-content: space-between; gap: 8px; }
</style>
</head>
<body>
<header>
  <h1>InfiniCache</h1><span id="health" role="status">connecting</span>
  <span id="about" class="dim"></span>
</header>
<h2>Data</h2><div id="data" class="grid"></div>
<h2>Redundancy</h2><div id="redundancy" class="grid"></div>
<h2>Cost <span id="terms"></span></h2><div id="cost" class="grid"></div>
<h2>Nodes <span id="counts"></span></h2><div id="nodes" class="grid nodes"></div>
<noscript>This page needs JavaScript; see /api/v1/status, /api/v1/cost and /metrics instead.
</noscript>
<script>
"use strict";
const period = 2000;
let last = null;

const at = (id) => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  for (; n >= 1000 && i + 1 < units.length; ++i) n /= 1024;
  return (i === 0 ? n : n.toPrecision(3)) + " " + units[i];
}

function duration(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return Math.floor(seconds / size) + " " + unit;
  }
  return seconds + " s";
}

const count = (n) => Math.round(n).toLocaleString("en");

// Two digits that count at least; cents.
function dollars(amount) {
  if (amount === null) return "–";
  if (amount < 1e-9) return "$0";
  const magnitude = Math.floor(Math.log10(amount));
  return "$" + amount.toFixed(Math.min(11, Math.max(2, 1 - magnitude)));
}

const ratio = (r) => r >= 100 ? count(r) : r.toPrecision(3);

function bar(used, limit) {
  const outer = make("div", "bar");
  const inner = make("i", "");
  inner.style.width = (limit > 0 ? Math.min(100, 100 * used / limit) : 0) + "%";
  outer.append(inner);
  return outer;
}

function tile(label, value, note, level) {
  const card = make("div", "card " + (level || ""));
  card.append(make("span", "label", label), make("b", "", value), make("span", "label", note));
  return card;
}

// Shares of a whole, as a bar and in words. Parts are [name, amount].
function parts(card, shares) {
  const whole = shares.reduce((sum, [, amount]) => sum + amount, 0);
  const outer = make("div", "bar parts");
  outer.append(...shares.map(([, amount]) => {
    const inner = make("i", "");
    inner.style.width = (whole > 0 ? 100 * amount / whole : 0) + "%";
    return inner;
  }));
  const words = shares.filter(([, amount]) => amount > 0)
      .map(([name, amount]) => name + " " + Math.round(100 * amount / whole) + " %");
  card.append(outer, make("span", "label", words.join(", ") || "nothing yet"));
  return card;
}

function showCost(cost) {
  at("terms").textContent = "preset " + cost.preset + ", billed as " + cost.price.name + " (" +
      cost.price.date + ")";
  const tiles = [
    tile("per hour", dollars(cost.dollars_per_hour), dollars(cost.dollars) + " so far"),
  ];
  for (const [name, beside] of [["provisioned", cost.provisioned], ["storage", cost.storage]]) {
    if (beside === null) continue;
    const times = beside.ratio === null ? "" : ratio(beside.ratio) + " times the pool, ";
    tiles.push(tile(name + ", per hour", dollars(beside.dollars_per_hour), times + beside.name));
  }
  const duty = cost.duty_cycle === null ? "–" : (100 * cost.duty_cycle).toPrecision(3) + " %";
  const alive = cost.instances;
  tiles.push(
      tile("duty cycle", duty,
           alive.busy + " busy, " + alive.idle + " idle, " + alive.frozen + " frozen"),
      tile("sessions", count(cost.sessions), count(cost.cold_starts) + " cold starts, " +
           cost.billed_seconds.toFixed(1) + " s billed"),
      tile("a million requests", dollars(cost.dollars_per_million_requests),
           count(cost.requests) + " so far"));
  if (cost.warm_up_interval_seconds !== null) {
    tiles.push(tile("warm-up", duration(Math.round(cost.warm_up_interval_seconds)),
                    "idle at most, now"));
  }
  const shares = Object.entries(cost.causes)
      .map(([name, sums]) => [name.replace("_", "-"), sums.dollars]);
  shares.push(["standing", cost.standing.dollars]);
  const causes = make("div", "card wide");
  causes.append(make("span", "label", "where it goes"));
  tiles.push(parts(causes, shares));
  at("cost").replaceChildren(...tiles);
}

function health(status) {
  if (!status.ready) {
    return ["bad", "not ready: " + status.nodes.serving + " of " + status.nodes.needed +
            " nodes needed"];
  }
  if (status.nodes.serving < status.nodes.total) return ["warn", "ready, nodes are missing"];
  if (status.repairs.queued > 0) return ["warn", "ready, repairing"];
  return ["good", "healthy"];
}

function show(status, nodes, cost, now) {
  const [level, text] = health(status);
  at("health").className = level;
  at("health").textContent = text;
  at("about").textContent = "version " + status.version + " · " + status.platform + " · code " +
      status.code + " · " + status.listen + " · up " + duration(status.uptime_seconds);

  const before = last && last.status.run_id === status.run_id ? last : null;
  const rate = (pick) => before === null ? 0 :
      Math.max(0, (pick(status) - pick(before.status)) * 1000 / (now - before.now));
  const asked = status.hits + status.misses;
  const stored = tile("stored", bytes(status.stored_bytes),
                      "of " + bytes(status.capacity_bytes) + ", with parity");
  stored.append(bar(status.stored_bytes, status.capacity_bytes));
  at("data").replaceChildren(
      tile("objects", count(status.objects), bytes(status.object_bytes)),
      stored,
      tile("reads", bytes(rate((s) => s.bytes_read)) + "/s", count(status.hits) + " hits, " +
           (asked > 0 ? (100 * status.hits / asked).toFixed(1) : "0") + " %"),
      tile("writes", bytes(rate((s) => s.bytes_written)) + "/s", count(status.writes) + " so far"),
      tile("commands", count(rate((s) => s.commands)) + "/s", count(status.clients) + " clients"),
      tile("server memory", bytes(status.memory_rss_bytes),
           bytes(status.memory.budget_used_bytes) + " in requests"));

  const repairs = status.repairs;
  at("redundancy").replaceChildren(
      tile("degraded reads", count(status.degraded_reads), count(status.hedges) + " hedges"),
      tile("repairs waiting", count(repairs.queued), count(repairs.failed) + " attempts failed",
           repairs.queued > 0 ? "warn" : ""),
      tile("chunks repaired", count(repairs.done), bytes(repairs.bytes)),
      tile("objects lost", count(status.losses), count(status.misses_lost) + " reads of them",
           status.losses > 0 ? "bad" : ""),
      tile("corrupt strips", count(status.corrupt_strips), "found and not used"),
      tile("instances ended", count(status.instances.ended),
           count(status.instances.started) + " started"));

  showCost(cost);

  at("counts").textContent = ["active", "waking", "starting", "asleep", "down"]
      .filter((state) => status.nodes[state] > 0)
      .map((state) => status.nodes[state] + " " + state).join(", ");
  at("nodes").replaceChildren(...nodes.map((node) => {
    const card = make("div", "card node " + node.state);
    const name = make("div", "row");
    name.append(make("strong", "", "node " + node.id), make("span", "state", node.state));
    const fill = make("div", "row");
    fill.append(make("span", "", bytes(node.bytes_used)),
                make("span", "dim", count(node.chunks) + " chunks"));
    card.append(name, bar(node.bytes_used, node.bytes_limit), fill);
    card.title = "of " + bytes(node.bytes_limit) + ", instance " + (node.instance || "none") +
        backup(node.backup) +
        ", pid " + (node.pid || "none") + ", " + (node.address || "no address");
    return card;
  }));
  last = {status, now};
}

function backup(state) {
  if (!state) return "";
  if (state.age_seconds === null) return ", no backup yet";
  return ", backed up " + duration(Math.round(state.age_seconds)) + " ago" +
      (state.behind ? ", " + bytes(state.bytes_behind) + " behind" : "");
}

async function get(path) {
  const response = await fetch(path, {signal: AbortSignal.timeout(5000)});
  if (!response.ok) throw new Error(path + ": " + response.status);
  return response.json();
}

async function poll() {
  try {
    const [status, nodes, cost] = await Promise.all(
        ["/api/v1/status", "/api/v1/nodes", "/api/v1/cost"].map(get));
    show(status, nodes, cost, performance.now());
  } catch (error) {
    at("health").className = "bad";
    at("health").textContent = "no answer from the server; what is below is old";
  }
  setTimeout(poll, period);
}
poll();
</script>
</body>
</html>
)html";

}  // namespace infinicache::admin
