import ChallengeModel

/// The facts about one challenge, joined: sets grow, and times take a maximum or a minimum, so that any order of the
/// same facts gives the same state. It is packed, because a million of them must fit into half a gigabyte.
struct Held: Sendable {
    struct Flags: OptionSet, Sendable {
        let rawValue: UInt8
        /// A dispatch or a carried state was read: targets, expiry and text are known.
        static let based = Flags(rawValue: 1)
        /// Everything from the creation on was read, or its carried state.
        static let complete = Flags(rawValue: 2)
        /// Answered, canceled, superseded or expired: shrunk to SID and expiry.
        static let closed = Flags(rawValue: 4)
        static let escalated = Flags(rawValue: 8)
        static let backgroundAllowed = Flags(rawValue: 16)
        static let adaptive = Flags(rawValue: 32)
        /// Its `challenge.dispatched` was derived.
        static let dispatched = Flags(rawValue: 64)
        /// Its `challenge.confirmed` was derived.
        static let confirmed = Flags(rawValue: 128)
    }

    let sid: PackedSID
    /// Small times of this challenge and its devices count from here, in milliseconds of the tracker's clock; 0 is
    /// "never".
    let anchorMs: Int64
    /// As the record says, epoch milliseconds; 0: unknown.
    var expiresAtMs: Int64 = 0
    /// The record's expiry on the tracker's clock; 0: unknown.
    var expiresLocalMs: Int64 = 0
    var lifeMs: UInt32 = 0
    var account: UInt32 = 0
    var service: UInt32 = 0
    /// 0: the default.
    var latencyMs: UInt32 = 0
    /// The checkpoint before which it was read.
    var readCheckpoint: UInt32 = 0
    /// When it was read.
    var readAt: UInt32 = 0
    /// The earliest dispatch.
    var firstAt: UInt32 = 0
    /// 0: the default.
    var maxAttempts: UInt8 = 0
    /// The highest n of a t<n> seen.
    var lastAttempt: UInt8 = 0
    var confirmAny = false
    var flags: Flags = []
    /// The first device; further ones in `others`. Without `Device.Flags.known` there is none.
    var device = Device()
    var others: [Device]?
    /// Which resends have which bit from ``DispatchBits/firstResend`` on.
    var resends: [UInt64]?
    /// ``ColdRecord``, packed.
    var cold: [UInt8] = []

    init(sid: PackedSID, anchorMs: Int64) {
        self.sid = sid
        self.anchorMs = anchorMs
    }

    /// Forgets what early facts said.
    mutating func disown() {
        device = Device()
        others = nil
        resends = nil
        flags.remove([.closed, .escalated, .dispatched, .confirmed])
    }

    var isClosed: Bool { flags.contains(.closed) }
    var isBased: Bool { flags.contains(.based) }

    func offset(_ timeMs: Int64) -> UInt32 { UInt32(clamping: max(1, timeMs - anchorMs)) }
    func time(_ offset: UInt32) -> Int64? { offset == 0 ? nil : anchorMs + Int64(offset) }

    var deviceCount: Int { device.flags.contains(.known) ? 1 + (others?.count ?? 0) : 0 }

    subscript(position: Int) -> Device {
        get { position == 0 ? device : others?[position - 1] ?? Device() }
        set { if position == 0 { device = newValue } else { others?[position - 1] = newValue } }
    }

    func position(of factor: PackedSID) -> Int? {
        (0..<deviceCount).first { self[$0].factor == factor }
    }

    /// Nil when there are too many already.
    mutating func positionMaking(_ factor: PackedSID) -> Int? {
        if let found = position(of: factor) { return found }
        let count = deviceCount
        guard count < 64 else { return nil }
        var fresh = Device()
        fresh.factor = factor
        fresh.flags.insert(.known)
        if count == 0 { device = fresh } else { others = (others ?? []) + [fresh] }
        return count
    }

    /// The bit of a dispatch in the devices' sets.
    mutating func bit(of dispatch: DispatchID) -> UInt64 {
        switch dispatch {
        case .creation: return 1
        case .attempt(let number): return 1 << UInt64(min(number, DispatchBits.lastAttempt))
        case .resend(let sid):
            let fingerprint = sid.fingerprint
            var known = resends ?? []
            let place = known.firstIndex(of: fingerprint) ?? known.count
            if place == known.count, place < DispatchBits.resends {
                known.append(fingerprint)
                resends = known
            }
            return 1 << UInt64(DispatchBits.firstResend + min(place, DispatchBits.resends - 1))
        }
    }
}

/// `c` is bit 0, `t1`…`t55` bits 1…55 (what is beyond shares the last), up to eight resends bits 56…63.
enum DispatchBits {
    static let lastAttempt: UInt16 = 55
    static let firstResend = 56
    static let resends = 8
    /// `c` and all t<n>.
    static let attempts: UInt64 = (1 << 56) - 1
}

/// What is known of one device of a challenge.
struct Device: Sendable {
    struct Flags: OptionSet, Sendable {
        let rawValue: UInt8
        static let known = Flags(rawValue: 1)
        /// A dispatch named it as a target.
        static let target = Flags(rawValue: 2)
        static let gone = Flags(rawValue: 4)
        static let received = Flags(rawValue: 8)
        static let polled = Flags(rawValue: 16)
        static let shown = Flags(rawValue: 32)
        static let notShown = Flags(rawValue: 64)
        /// The target's: the device said that it shows no notifications.
        static let silenced = Flags(rawValue: 128)
    }

    /// Why the registration `deadRegisteredAtMs` cannot be reached, the stronger reason last.
    enum Death: UInt8, Sendable {
        case none, refused, tokenDead, noDevice
    }

    var factor = PackedSID(high: 0, low: 0)
    /// Dispatches that name it, that have an outcome of their visible push, that a provider took or may have taken.
    var addressed: UInt64 = 0
    var answered: UInt64 = 0
    var used: UInt64 = 0
    /// Dispatches whose background push a provider took or may have taken.
    var background: UInt64 = 0
    /// Which registration the target's push token is of.
    var registeredAtMs: Int64 = 0
    /// The newest registration known to be dead; -1: none.
    var deadRegisteredAtMs: Int64 = -1
    var app: UInt32 = 0
    var credential: UInt32 = 0
    /// The provider's word for the latest failure, and when it was.
    var detail: UInt32 = 0
    var failedAt: UInt32 = 0
    /// The latest outcome that says accepted or unknown.
    var usedAt: UInt32 = 0
    /// The same of the creation's push, the earliest.
    var firstUsedAt: UInt32 = 0
    /// The latest `deferred`, and until when.
    var deferredAt: UInt32 = 0
    var retryAt: UInt32 = 0
    /// The latest `credentialFault`.
    var faultAt: UInt32 = 0
    var diedAt: UInt32 = 0
    /// The earliest receipt.
    var receivedAt: UInt32 = 0
    /// The latest new registration.
    var changedAt: UInt32 = 0
    var backgroundBudget: UInt16 = 0
    var platform: UInt8 = 0
    var environment: UInt8 = 0
    var flags: Flags = []
    var death: Death = .none
    /// The target came from a `DeviceChanged`, which beats a dispatch written about the same registration.
    var isTargetFromChange = false
    /// Platform, push token and what goes with them are known.
    var hasTarget = false
    /// The latency of the creation's push was learnt from.
    var isMeasured = false
    /// A provider took a visible push; `used` also has those that it may have taken.
    var isAccepted = false
    /// A dispatch to it asks for pushes until it confirms. Without one, its silence is no reason to push again.
    var isPushedUntilConfirmed = false

    var isDead: Bool { death != .none && deadRegisteredAtMs >= registeredAtMs }
    var attempts: Int { used.nonzeroBitCount }
    /// It has a push and is never expected to confirm it, so its silence says nothing.
    var isSilenceMeaningless: Bool { isAccepted && !isPushedUntilConfirmed }
    /// The device has it, and nothing says that the person cannot see it.
    var isDelivered: Bool {
        if !flags.isDisjoint(with: [.polled, .shown]) { return true }
        return flags.contains(.received) && flags.isDisjoint(with: [.notShown, .silenced])
    }
    /// A dispatch is still in the log without an outcome: the newest t<n>, or any resend.
    var isPending: Bool {
        let open = addressed & ~answered
        guard open != 0 else { return false }
        let newest = addressed & DispatchBits.attempts
        let newestBit: UInt64 = newest == 0 ? 0 : 1 << UInt64(63 - newest.leadingZeroBitCount)
        return open & (newestBit | ~DispatchBits.attempts) != 0
    }
}

extension SID {
    /// 64 bits that stand for it.
    var fingerprint: UInt64 { PackedSID(rawValue, prefix: Kind.prefix)?.mixed() ?? 0 }
}
