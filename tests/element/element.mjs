// Several Elements in one process: matrix-js-sdk with its crypto in Rust, as Element Web uses it, and no screen.
//
// A line of JSON on stdin is an order: {id, client, verb, ...}. A line on stdout is its end, {id, value} or {id, error},
// or what a client shows: {client, event}, {client, room, membership}. An event is shown again whenever it changes: once
// its key arrives, say. What the library logs goes to stderr.

import readline from "node:readline";

for (const level of ["log", "info", "debug", "trace"]) console[level] = () => {};
console.warn = console.error;

const sdk = await import("matrix-js-sdk");
const cryptoApi = await import("matrix-js-sdk/lib/crypto-api/index.js");
const { logger } = await import("matrix-js-sdk/lib/logger.js");
logger.setLevel("error", false);

const ALGORITHM = { name: "AES-CTR", length: 256 };
const ISOLATION = {
  onlysigned: () => new cryptoApi.OnlySignedDevicesIsolationMode(),
  all: () => new cryptoApi.AllDevicesIsolationMode(false),
};
// More than any test says between two syncs: a timeline with a gap would hide the rest.
const TIMELINE = 100;

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const unpadded = (bytes) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");
const named = (names, number) => Object.keys(names).find((name) => names[name] === number) ?? null;

/** The way to the homeserver; it can be cut, and then what was under way fails as it does when a cable is pulled. */
class Network {
  online = true;
  #cable = new AbortController();

  fetch = async (url, init = {}) => {
    if (!this.online) throw new TypeError("fetch failed: offline");
    const signals = [init.signal, this.#cable.signal].filter(Boolean);
    return fetch(url, { ...init, signal: AbortSignal.any(signals) });
  };

  pull() {
    this.online = false;
    this.#cable.abort(new TypeError("fetch failed: the cable was pulled"));
  }

  plug() {
    this.online = true;
    this.#cable = new AbortController();
  }
}

class Element {
  constructor(name) {
    this.name = name;
    this.network = new Network();
    this.events = new Map();
  }

  get crypto() {
    return this.client.getCrypto();
  }

  async sign_in({ homeserver, user, password, device, isolation }) {
    const door = sdk.createClient({ baseUrl: homeserver });
    const session = await door.loginRequest({
      type: "m.login.password",
      identifier: { type: "m.id.user", user },
      password,
      initial_device_display_name: "Element of the tests",
      ...(device ? { device_id: device } : {}),
    });
    this.client = sdk.createClient({
      baseUrl: homeserver,
      accessToken: session.access_token,
      userId: session.user_id,
      deviceId: session.device_id,
      fetchFn: this.network.fetch,
      disableVoip: true,
    });
    await this.client.initRustCrypto({ useIndexedDB: false });
    this.crypto.setDeviceIsolationMode(ISOLATION[isolation]());
    this.client.on(sdk.ClientEvent.Event, (event) => void this.#take(event));
    this.client.on(sdk.MatrixEventEvent.Decrypted, (event) => void this.#show(event));
    this.client.on(sdk.MatrixEventEvent.Replaced, (event) => void this.#show(event));
    this.client.on(sdk.RoomEvent.Redaction, (redaction, room) => {
      const event = room.findEventById(redaction.getAssociatedId());
      if (event) void this.#show(event);
    });
    this.client.on(sdk.RoomEvent.MyMembership, (room, membership) => {
      const own = room.getMember(this.client.getUserId());
      const inviter = membership === "invite" ? (own?.events.member?.getSender() ?? null) : null;
      say({ client: this.name, room: room.roomId, membership, inviter });
    });
    const ready = new Promise((resolve) => {
      this.client.on(sdk.ClientEvent.Sync, (state) => state === sdk.SyncState.Prepared && resolve());
    });
    await this.client.startClient({ initialSyncLimit: TIMELINE, disablePresence: true });
    await ready;
    const keys = await this.crypto.getOwnDeviceKeys();
    return { user_id: session.user_id, device_id: session.device_id, fingerprint: keys.ed25519 };
  }

  async sign_out() {
    await this.client.logout(true);
  }

  async close() {
    this.network.pull();
    this.client.stopClient();
  }

  async go_offline() {
    this.network.pull();
  }

  async come_back() {
    this.network.plug();
    this.client.retryImmediately();
  }

  // Keys and trust

  /** Signs this device with a new identity; where the account has one already it is replaced only if asked to. */
  async make_identity({ password, anew }) {
    const user = this.client.getUserId();
    const proof = { type: "m.login.password", identifier: { type: "m.id.user", user }, password };
    await this.crypto.bootstrapCrossSigning({
      setupNewCrossSigning: anew,
      authUploadDeviceSigningKeys: (upload) => upload(proof),
    });
  }

  async discard({ room }) {
    await this.crypto.forceDiscardSession(room);
  }

  /** The fingerprints of somebody's devices, which of them their identity signed, and its master key. */
  async keys_of({ user }) {
    await this.crypto.userHasCrossSigningKeys(user, true);
    const devices = (await this.crypto.getUserDeviceInfo([user], true)).get(user) ?? new Map();
    const found = {};
    for (const [id, device] of devices) {
      const status = await this.crypto.getDeviceVerificationStatus(user, id);
      found[id] = { fingerprint: device.getFingerprint(), signed: status?.signedByOwner ?? false };
    }
    const { master_key } = (await this.crypto.getUserCrossSigningKeys(user)) ?? {};
    return { devices: found, master: master_key ? Object.values(master_key.keys)[0] : null };
  }

  async trust_in({ user }) {
    const status = await this.crypto.getUserVerificationStatus(user);
    return {
      known: status.known,
      verified: status.isCrossSigningVerified(),
      was_verified: status.wasCrossSigningVerified(),
      needs_approval: status.needsUserApproval,
    };
  }

  /** The Megolm sessions of a room that this device has keys of. */
  async sessions({ room }) {
    const keys = await this.crypto.exportRoomKeys();
    return keys.filter((key) => key.room_id === room).map((key) => key.session_id);
  }

  // Rooms

  async make_room({ version, encrypted, invite, levels, content }) {
    const encryption = { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } };
    const made = await this.client.createRoom({
      preset: "private_chat",
      invite,
      room_version: version ?? undefined,
      initial_state: encrypted ? [encryption] : [],
      power_level_content_override: levels ?? undefined,
      ...content,
    });
    return made.room_id;
  }

  async join({ room }) {
    await this.client.joinRoom(room);
  }

  async leave({ room }) {
    await this.client.leave(room);
  }

  async kick({ room, user }) {
    await this.client.kick(room, user);
  }

  async invite({ room, user }) {
    await this.client.invite(room, user);
  }

  async set_level({ room, user, level }) {
    await this.client.setPowerLevel(room, user, level);
  }

  /** Everybody's membership and level in a room, as this client has them. */
  async members({ room }) {
    const members = this.client.getRoom(room)?.currentState.getMembers() ?? [];
    return Object.fromEntries(members.map((m) => [m.userId, { membership: m.membership, level: m.powerLevel }]));
  }

  // What is said

  async send({ room, type, content }) {
    return (await this.client.sendEvent(room, type, content)).event_id;
  }

  async redact({ room, event }) {
    return (await this.client.redactEvent(room, event)).event_id;
  }

  async send_file({ room, name, text }) {
    const iv = crypto.getRandomValues(new Uint8Array(16)).fill(0, 8);
    const key = await crypto.subtle.generateKey(ALGORITHM, true, ["encrypt", "decrypt"]);
    const plain = new TextEncoder().encode(text);
    const locked = await crypto.subtle.encrypt({ name: "AES-CTR", counter: iv, length: 64 }, key, plain);
    const uploaded = await this.client.uploadContent(Buffer.from(locked), { type: "application/octet-stream" });
    const file = {
      v: "v2",
      url: uploaded.content_uri,
      key: await crypto.subtle.exportKey("jwk", key),
      iv: unpadded(iv),
      hashes: { sha256: unpadded(await crypto.subtle.digest("SHA-256", locked)) },
    };
    const info = { mimetype: "text/plain", size: plain.length };
    const content = { msgtype: "m.file", body: name, filename: name, info, file };
    return (await this.client.sendEvent(room, "m.room.message", content)).event_id;
  }

  async read_file({ event }) {
    const { file } = this.events.get(event).getContent();
    const url = this.client.mxcUrlToHttp(file.url, undefined, undefined, undefined, false, true, true);
    const answer = await fetch(url, { headers: { Authorization: `Bearer ${this.client.getAccessToken()}` } });
    if (!answer.ok) throw new Error(`the download was answered with ${answer.status}`);
    const locked = await answer.arrayBuffer();
    const hash = unpadded(await crypto.subtle.digest("SHA-256", locked));
    if (hash !== file.hashes.sha256) throw new Error("the file is not the one that was sent");
    const key = await crypto.subtle.importKey("jwk", file.key, ALGORITHM, false, ["decrypt"]);
    const counter = Buffer.from(file.iv, "base64");
    const plain = await crypto.subtle.decrypt({ name: "AES-CTR", counter, length: 64 }, key, locked);
    return new TextDecoder().decode(plain);
  }

  async shield_of({ event }) {
    return this.#shield(this.events.get(event));
  }

  async #take(event) {
    if (!event.getId()?.startsWith("$") || !event.getRoomId()) return;
    this.events.set(event.getId(), event);
    event.on(sdk.MatrixEventEvent.RelationsCreated, (type) => {
      if (type === sdk.RelationType.Annotation) this.#follow(event);
    });
    this.#follow(event);
    await this.client.decryptEventIfNeeded(event);
    await this.#show(event);
  }

  /** Shows an event again whenever another emoji stands under it, or one less. */
  #follow(event) {
    const changes = [sdk.RelationsEvent.Add, sdk.RelationsEvent.Remove, sdk.RelationsEvent.Redaction];
    for (const change of changes) this.#emojis(event)?.on(change, () => void this.#show(event));
    if (this.#emojis(event)) void this.#show(event);
  }

  #emojis(event) {
    const relations = this.client.getRoom(event.getRoomId())?.relations;
    return relations?.getChildEventsForEvent(event.getId(), sdk.RelationType.Annotation, sdk.EventType.Reaction);
  }

  async #show(event) {
    if (this.events.get(event.getId()) !== event) return;
    const wire = event.getWireContent();
    const shown = {
      room_id: event.getRoomId(),
      event_id: event.getId(),
      sender: event.getSender(),
      at: event.getTs() / 1000,
      type: event.getType(),
      wire_type: event.getWireType(),
      content: event.getOriginalContent(),
      shown: event.getContent(),
      edited_by: event.replacingEventId() ?? null,
      emojis: Object.fromEntries(this.#counted(event)),
      relation: wire["m.relates_to"] ?? {},
      session_id: wire.session_id ?? null,
      state_key: event.getStateKey() ?? null,
      failure: event.isDecryptionFailure() ? String(event.decryptionFailureReason) : null,
      redacted: event.isRedacted(),
      shield: await this.#shield(event),
    };
    say({ client: this.name, event: shown });
  }

  /** Each emoji under an event with those who put it there. */
  #counted(event) {
    const byEmoji = this.#emojis(event)?.getSortedAnnotationsByKey() ?? [];
    return byEmoji.map(([emoji, events]) => [emoji, [...events].map((each) => each.getSender()).sort()]);
  }

  /** Null where there is nothing to judge: what came in clear, or could not be read. */
  async #shield(event) {
    const info = event.isEncrypted() ? await this.crypto.getEncryptionInfoForEvent(event) : null;
    if (info === null) return null;
    return {
      colour: named(cryptoApi.EventShieldColour, info.shieldColour),
      reason: info.shieldReason === null ? null : named(cryptoApi.EventShieldReason, info.shieldReason),
    };
  }
}

const elements = new Map();
process.on("unhandledRejection", (error) => console.error("unhandled:", error));

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, client, verb, ...order } = JSON.parse(line);
  if (!elements.has(client)) elements.set(client, new Element(client));
  try {
    say({ id, value: (await elements.get(client)[verb](order)) ?? null });
  } catch (error) {
    console.error(error.stack ?? error);
    say({ id, error: `${error}` });
  }
  if (verb === "close") elements.delete(client);
}).on("close", () => process.exit(0));
