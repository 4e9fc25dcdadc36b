import DequeModule
public import DeviceKit
import Synchronization

/// A phone with an app on it and a person in front of it, for tests and demonstrations: real keys, real requests.
public final class SimulatedPhone: Sendable {
    /// In events.
    public let name: String
    public let provider: SimulatedProvider
    public let log: PhoneLog
    let reception: any PushReception
    private let installAgain: (@Sendable () async throws -> Device)?
    let prove: Prove?
    private let pollInterval: Duration
    let state: Mutex<State>

    struct State {
        var device: Device
        var policy: PhonePolicy
        var inbox = ChallengeInbox()
        var shown = ShownChallenges()
        var changes: AsyncStream<Never>.Continuation?
        /// Opens a sheet.
        var sheets: AsyncStream<String>.Continuation?
        /// Challenges whose sheets are open.
        var open: Set<String> = []
        /// As the server was told.
        var mayNotify: Bool
        /// The challenges of open sheets, as they were read last.
        var sheetContents: [String: DeviceChallenge] = [:]
        /// The last pushes, newest last, as they arrived.
        var pushes: Deque<SimulatedPush> = []
    }

    /// Pushes that ``pushes`` still knows.
    private static let mostPushes = 20

    /// What the person does before an approval that needs more than a tap: reads the number, signs in to the app.
    public typealias Prove = @Sendable (DeviceChallenge) async throws -> ApprovalProof

    /// Pushes of one phone that are worked on at once.
    private static let mostAtOnce = 8

    /// Sheets of one phone that are open at once, the others wait: a server lets so many requests of a device wait.
    public static let mostSheets = 4

    /// - Parameters:
    ///   - device: registered and verified, and has told the server when notifications are off.
    ///   - pollInterval: of ``PhoneBehaviour/polls``.
    ///   - installAgain: makes a key and enrols with the same push token; nil: ``PhoneBehaviour/reinstalls`` fails.
    ///   - prove: nil: the person knows no number and is not signed in.
    ///   - isAttended: somebody answers by hand, with ``answer(_:approved:number:)``. The phone then answers nothing by
    ///     itself, whatever its behaviour. Default false.
    public init(
        name: String, device: Device, provider: SimulatedProvider, behaviour: PhoneBehaviour,
        reception: any PushReception, pollInterval: Duration = .seconds(1), log: PhoneLog = PhoneLog(),
        installAgain: (@Sendable () async throws -> Device)? = nil, prove: Prove? = nil, isAttended: Bool = false
    ) {
        self.name = name
        self.provider = provider
        self.reception = reception
        self.pollInterval = pollInterval
        self.log = log
        self.installAgain = installAgain
        self.prove = prove
        state = Mutex(
            State(
                device: device, policy: PhonePolicy(behaviour, isAttended: isAttended),
                mayNotify: behaviour != .notificationsOff))
    }

    /// Another one after ``PhoneBehaviour/reinstalls``.
    public var device: Device { state.withLock { $0.device } }

    public var behaviour: PhoneBehaviour { state.withLock { $0.policy.behaviour } }

    /// Notifications that the person saw: one per challenge, however often it was pushed.
    public var displayedCount: Int { state.withLock { $0.policy.displayedCount } }

    /// Challenges whose notifications the person sees now.
    public var shown: [String] { state.withLock { $0.shown.sids } }

    /// The challenges whose sheets are open, oldest first: what the person reads before they answer.
    public var sheets: [DeviceChallenge] {
        state.withLock { state in state.shown.sids.compactMap { state.sheetContents[$0] } }
    }

    /// The last 20 pushes that reached the phone, oldest first.
    public var pushes: [SimulatedPush] { state.withLock { Array($0.pushes) } }

    /// What the notification extension kept.
    public var inbox: ChallengeInbox { state.withLock { $0.inbox } }

    /// From now on the phone is another. Coming online brings what the provider stored.
    public func become(_ behaviour: PhoneBehaviour) {
        let changes = state.withLock { state in
            state.policy.become(behaviour)
            defer { state.changes = nil }
            return state.changes
        }
        changes?.finish()
    }

    /// Lives until the task is cancelled; not to be called again while it runs. What is in progress then is cancelled
    /// too.
    public func run() async {
        while !Task.isCancelled {
            let (behaviour, changes, sheets) = state.withLock { state in
                let (changes, continuation) = AsyncStream.makeStream(
                    of: Never.self, bufferingPolicy: .bufferingNewest(1))
                let (sheets, opener) = AsyncStream.makeStream(of: String.self, bufferingPolicy: .bufferingNewest(100))
                state.changes = continuation
                state.sheets = opener
                if state.policy.opensSheets { for sid in state.shown.sids { opener.yield(sid) } }
                return (state.policy.behaviour, changes, sheets)
            }
            await withTaskGroup { group in
                group.addTask { await self.live(behaviour) }
                group.addTask { for await _ in changes {} }
                group.addTask { await self.each(of: sheets, atOnce: Self.mostSheets) { await self.watch($0) } }
                await group.next()
                group.cancelAll()
            }
        }
    }

    /// The person opens the app: it answers the challenges that its inbox knows, then asks for what no push told it.
    public func open() async {
        note(.opened)
        await report(mayNotify: behaviour != .notificationsOff)
        let now = device.client.nowMs()
        for entry in state.withLock({ $0.inbox.take(nowMs: now) }) {
            let actions = state.withLock { $0.policy.answer(entry.challengeSID) }
            await perform(actions, challengeSID: entry.challengeSID, push: nil)
        }
        await answerPending()
    }

    /// The person in front of the phone answers a challenge whose sheet is open.
    /// - Parameter number: what they typed, when the challenge needs a number.
    /// - Throws: `DeviceError` when the server refuses the answer; ``SimulatorError`` when the sheet is not open.
    public func answer(_ sid: String, approved: Bool, number: String? = nil) async throws {
        guard let challenge = state.withLock({ $0.sheetContents[sid] }) else {
            throw SimulatorError("\(name) shows no challenge \(sid)")
        }
        var proof = ApprovalProof()
        if approved, challenge.numberDigits != nil || challenge.requiresSession {
            // The person is signed in to the app; the number they have to read where they sign in.
            if challenge.requiresSession { proof.sessionToken = try await prove?(challenge).sessionToken }
            proof.number = number
        }
        do {
            let after = try await device.answer(challenge, approved: approved, proof: proof)
            close(sid)
            note(.answered, sid, detail: after.status.rawValue)
        } catch {
            note(Self.kind(of: error), sid, detail: "\(error)")
            throw error
        }
    }

    /// The challenge is over on this phone.
    private func close(_ sid: String) {
        state.withLock {
            $0.shown.remove(sid)
            $0.sheetContents[sid] = nil
        }
    }

    private func live(_ behaviour: PhoneBehaviour) async {
        let token = device.registration.pushToken ?? ""
        switch behaviour {
        case .polls: await poll()
        case .offline:
            note(.offline)
            await untilCancelled()
        case .deleted:
            do {
                try await reception.unregister(provider, token: token)
                note(.deleted)
            } catch {
                note(.failed, detail: "\(error)")
            }
            await untilCancelled()
        case .reinstalls: await reinstall()
        // Who turns notifications off does it in the system's settings: the app sees it when its code runs next.
        case .notificationsOff: await receive(token)
        default:
            await report(mayNotify: true)
            await receive(token)
        }
    }

    /// What the old app kept and showed is gone with it.
    private func reinstall() async {
        let shown = state.withLock { state in
            state.inbox = ChallengeInbox()
            defer { state.shown = ShownChallenges() }
            return state.shown.sids
        }
        for sid in shown { note(.withdrawn, sid, detail: "with the app") }
        do {
            guard let installAgain else { throw SimulatorError("\(name) cannot enrol again") }
            let device = try await installAgain()
            state.withLock { state in
                (state.device, state.mayNotify) = (device, true)
                if state.policy.behaviour == .reinstalls { state.policy.become(.answers) }
            }
            note(.enrolled, detail: device.registration.factorSID)
        } catch {
            if !Task.isCancelled { note(.failed, detail: "\(error)") }
            try? await Task.sleep(for: .milliseconds(500))
        }
    }

    /// The app asks the system when it is opened, and tells the server what has changed.
    private func report(mayNotify: Bool) async {
        guard state.withLock({ $0.mayNotify }) != mayNotify else { return }
        do {
            try await device.reportNotifications(enabled: mayNotify)
            state.withLock { $0.mayNotify = mayNotify }
            note(.reported, detail: "notifications \(mayNotify ? "on" : "off")")
        } catch {
            if !Task.isCancelled { note(.failed, detail: "\(error)") }
        }
    }

    private func untilCancelled() async {
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
    }

    private func receive(_ token: String) async {
        let pushes: AsyncStream<SimulatedPush>
        do {
            pushes = try await reception.receive(provider, token: token, appID: device.registration.appID)
        } catch {
            if !Task.isCancelled { note(.failed, detail: "\(error)") }
            try? await Task.sleep(for: .milliseconds(500))
            return
        }
        note(.online)
        await each(of: pushes, atOnce: Self.mostAtOnce) { await self.handle($0) }
        // The stream ended without us: taken over, or the app is gone at the provider.
        if !Task.isCancelled {
            note(.offline, detail: "the reception ended")
            await untilCancelled()
        }
    }

    private func each<Item: Sendable>(
        of items: AsyncStream<Item>, atOnce most: Int, _ work: @escaping @Sendable (Item) async -> Void
    ) async {
        await withTaskGroup(of: Void.self) { group in
            var atWork = 0
            for await item in items {
                if atWork >= most {
                    await group.next()
                    atWork -= 1
                }
                group.addTask { await work(item) }
                atWork += 1
            }
        }
    }

    private func handle(_ push: SimulatedPush) async {
        state.withLock { state in
            state.pushes.append(push)
            if state.pushes.count > Self.mostPushes { state.pushes.removeFirst() }
        }
        let message: PushMessage
        do throws(PushMessageError) {
            message = try PushMessage(values: push.values)
        } catch {
            note(.ignored, detail: error.description)
            return
        }
        note(.pushed, message.challengeSID, detail: "\(message.kind.rawValue) \(message.dispatch ?? "")")
        guard message.factorSID == device.registration.factorSID else {
            note(.ignored, message.challengeSID, detail: "for another factor")
            return
        }
        let now = device.client.nowMs()
        let actions = state.withLock { $0.policy.receive(message, provider, nowMs: now) }
        await report(push, actions)
        await perform(actions, challengeSID: message.challengeSID, push: message)
    }

    /// HMS's system part on the phone tells Huawei what became of a message, whatever the app does.
    private func report(_ push: SimulatedPush, _ actions: [PhoneAction]) async {
        guard provider == .hms else { return }
        for case .lose in actions { return }
        let isHidden = behaviour == .notificationsOff && push.pushType == "notification"
        do {
            try await reception.report(
                .hms, token: push.pushToken, messageID: push.messageID, result: isHidden ? 6 : 0)
        } catch {
            if !Task.isCancelled { note(.failed, push.values["challenge_sid"], detail: "report: \(error)") }
        }
    }

    private func poll() async {
        while !Task.isCancelled {
            await answerPending()
            try? await Task.sleep(for: pollInterval)
        }
    }

    /// Asks for what is pending, takes away what is not, answers.
    private func answerPending() async {
        let shown = self.shown
        do {
            let pending = try await device.pendingChallenges()
            if !pending.isEmpty { note(.polled, detail: "\(pending.count)") }
            for sid in state.withLock({ $0.shown.listed(pending, of: shown) }) { note(.withdrawn, sid) }
            for challenge in pending {
                let actions = state.withLock { $0.policy.answer(challenge.sid) }
                if actions.contains(.fetch) { await perform(actions, challengeSID: challenge.sid, push: nil) }
            }
        } catch {
            if !Task.isCancelled { note(Self.kind(of: error), detail: "\(error)") }
        }
    }

    static func kind(of error: any Error) -> PhoneEvent.Kind {
        if case .refused? = error as? DeviceError { .refused } else { .failed }
    }

    func note(_ kind: PhoneEvent.Kind, _ challengeSID: String? = nil, detail: String = "") {
        log.record(
            PhoneEvent(
                atMs: device.client.nowMs(), phone: name, kind: kind, challengeSID: challengeSID, detail: detail))
    }
}
