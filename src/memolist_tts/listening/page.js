"use strict";
const $ = (selector) => document.querySelector(selector);
const rows = [...document.querySelectorAll(".utterance")];
const players = [...document.querySelectorAll("audio")];
const newest = (row) => row.querySelector(".take.new audio");
const status = (text) => { $("#status").textContent = text; };
let at = -1;
let whole = false;
let timer = 0;

const shown = () => rows.filter((row) => !row.hidden);
const heard = () => shown().filter(newest);
const silence = (but) => players.forEach((player) => { if (player !== but) player.pause(); });
const mark = (row) => {
  rows.forEach((each) => each.classList.toggle("on", each === row));
  at = rows.indexOf(row);
  row.scrollIntoView({ block: "nearest" });
};
const play = (player) => {
  clearTimeout(timer);
  silence(player);
  player.currentTime = 0;
  player.playbackRate = Number($("#speed").value);
  player.preservesPitch = true;
  mark(player.closest(".utterance"));
  player.play().catch(() => {});
};
const stop = () => {
  whole = false;
  clearTimeout(timer);
  silence();
  $("#whole").textContent = "Play all";
};
const follow = () => {
  const next = heard().find((row) => rows.indexOf(row) > at);
  if (next) play(newest(next)); else { stop(); status("The end."); }
};
const step = (by) => {
  const all = shown();
  const here = all.indexOf(rows[at]);
  const row = all[here < 0 ? 0 : Math.min(all.length - 1, Math.max(0, here + by))];
  if (!row) return;
  stop();
  mark(row);
  if (newest(row)) play(newest(row));
};

players.forEach((player) => {
  const button = player.closest(".take").querySelector("button");
  const sign = button.firstElementChild;
  button.onclick = () => {
    const wasPlaying = !player.paused;
    stop();
    if (!wasPlaying) play(player);
  };
  player.onplay = () => { sign.textContent = "■"; };
  player.onpause = () => { sign.textContent = "▶"; };
  player.onended = () => {
    sign.textContent = "▶";
    if (whole) timer = setTimeout(follow, 1000 * Number($("#pause").value));
  };
  player.onerror = () => {
    status("This clip can't be played.");
    if (whole) follow();
  };
});
$("#whole").onclick = () => {
  if (whole) { stop(); return; }
  stop();
  whole = true;
  at = -1;
  $("#whole").textContent = "Stop";
  follow();
};
$("#speed").onchange = () => {
  players.forEach((player) => { player.playbackRate = Number($("#speed").value); });
};

const filter = () => {
  const state = $("#state").value;
  const code = $("#code").value;
  rows.forEach((row) => {
    row.hidden = (state && row.dataset.state !== state) || (code && row.dataset.code !== code);
  });
  document.querySelectorAll("#cards > li").forEach((card) => {
    card.hidden = ![...card.querySelectorAll(".utterance")].some((row) => !row.hidden);
  });
  const count = shown().length;
  $("#none").hidden = count > 0;
  status(`${count} of ${rows.length} shown.`);
};
$("#state").onchange = filter;
$("#code").onchange = filter;

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const list = () => {
  const lines = rows.filter((row) => row.querySelector("[type=checkbox]")?.checked).map((row) => {
    const say = row.querySelector("[type=text]").value.trim();
    const line = `memolist-tts retake ${quoted(row.dataset.card)} ${row.dataset.language}`;
    return say ? `${line} --say ${quoted(say)}` : line;
  });
  $("#commands").textContent = lines.join("\n");
  $("#retakes").hidden = lines.length === 0;
};
document.querySelectorAll(".flag input").forEach((input) => { input.oninput = list; });
$("#copy").onclick = async () => {
  try {
    await navigator.clipboard.writeText($("#commands").textContent);
    status("Copied.");
  } catch {
    getSelection().selectAllChildren($("#commands"));
    status("Selected: copy it with your keyboard.");
  }
};

document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=text], select")) return;
  if (event.key === " " && event.target.matches("button, input")) return;
  const row = rows[at];
  const act = {
    " ": () => (whole || players.some((player) => !player.paused) ? stop() : step(0)),
    j: () => step(1),
    k: () => step(-1),
    s: () => {
      const speed = $("#speed");
      speed.selectedIndex = (speed.selectedIndex + speed.length - 1) % speed.length;
      speed.onchange();
      status(`Speed: ${speed.selectedOptions[0].textContent}.`);
    },
    f: () => row?.querySelector("[type=checkbox]")?.click(),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
};
