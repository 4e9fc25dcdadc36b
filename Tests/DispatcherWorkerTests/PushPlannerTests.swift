import ChallengeModel
import PushGateway
import PushProviders
import Testing

@testable import DispatcherWorker

@Suite("What becomes of a dispatch, per device")
struct PushPlannerTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        var id = "c"
        var confirm = ChallengeModel.Confirmation.each
        var nowMs: Int64 = 1000
        var facts = DeviceFacts()
        let expected: PlannedPush.Decision
        var testDescription: String { name }

        init(
            _ name: String, id: String = "c", confirm: ChallengeModel.Confirmation = .each, nowMs: Int64 = 1000,
            _ expected: PlannedPush.Decision, facts: (inout DeviceFacts) -> Void = { _ in }
        ) {
            self.name = name
            self.id = id
            self.confirm = confirm
            self.nowMs = nowMs
            self.expected = expected
            facts(&self.facts)
        }
    }

    static let resend = "n:NT0000000000000000000000000000000a"

    static let cases: [Case] = [
        Case("nothing known: pushed", .push),
        Case("a millisecond before the expiry: pushed", nowMs: 1999, .push),
        Case("at the expiry: dropped", nowMs: 2000, .drop(.expiredBeforePush)),
        Case("resolved: dropped", .drop(.resolvedBeforePush)) { $0.isResolved = true },
        Case("a resend of a resolved challenge: dropped", id: resend, .drop(.resolvedBeforePush)) {
            $0.isResolved = true
        },
        Case("confirmed by the device: dropped", .drop(.confirmedBeforePush)) { $0.isConfirmed = true },
        Case("an attempt, confirmed by the device: dropped", id: "t1", .drop(.confirmedBeforePush)) {
            $0.isConfirmed = true
        },
        Case("a resend that the backend asks for goes to a device that has confirmed", id: resend, .push) {
            $0.isConfirmed = true
        },
        Case("an attempt, confirmed by another device, each has to: pushed", id: "t1", .push) {
            $0.isConfirmedByAny = true
        },
        Case(
            "an attempt, confirmed by another device, any is enough: dropped", id: "t1", confirm: .any,
            .drop(.confirmedBeforePush)
        ) { $0.isConfirmedByAny = true },
        Case("the creation goes to every device, although any is enough", confirm: .any, .push) {
            $0.isConfirmedByAny = true
        },
        Case("overtaken: dropped", .drop(.overtaken)) { $0.isOvertaken = true },
        Case("done already: dropped", .drop(.alreadyDone)) { $0.done = [.visible] },
        Case("done before it expired: said so", nowMs: 2000, .drop(.alreadyDone)) { $0.done = [.visible] },
        Case("the device is gone: dropped", .drop(.deviceGone)) { $0.isGone = true },
    ]

    @Test("the reason fits what is known", arguments: cases)
    func reasons(_ given: Case) throws {
        var dispatch = Samples.dispatch(1, id: given.id, expiresAtMs: 2000)
        dispatch.redelivery.confirm = given.confirm
        let plan = PushPlanner.plan(
            Samples.target(), of: dispatch, id: try #require(DispatchID(given.id)), facts: given.facts,
            nowMs: given.nowMs)
        #expect(plan.map(\.decision) == [given.expected])
        #expect(plan.map(\.kind) == [.visible])
    }

    @Test(
        "a resend with a life of its own is dropped ten seconds after it, which is its time on the way",
        arguments: [(Int64(1000), Int64(10_999), false), (1000, 11_000, true), (0, 11_000, false)])
    func ownLife(pushExpiresAtMs: Int64, nowMs: Int64, isDropped: Bool) throws {
        var dispatch = Samples.dispatch(1, id: Self.resend, expiresAtMs: 20_000)
        dispatch.pushExpiresAtMs = pushExpiresAtMs
        let plan = PushPlanner.plan(
            Samples.target(), of: dispatch, id: try #require(DispatchID(Self.resend)), facts: DeviceFacts(),
            nowMs: nowMs)
        #expect(plan.map(\.decision) == [isDropped ? .drop(.expiredBeforePush) : .push])
    }

    @Test(
        "each platform gets what it can take",
        arguments: [
            (Platform.apn, "t", PlannedPush.Decision.push), (.fcm, "t", .push), (.noPush, "", .drop(.noPushChannel)),
            (.apn, "", .drop(.noPushChannel)), (.fcm, "", .drop(.noPushChannel)),
            (.hms, "t", .push), (.hms, "", .drop(.noPushChannel)), (.webpush, "t", .reject("unsupported-platform")),
            (.unspecified, "t", .reject("unsupported-platform")),
            (.UNRECOGNIZED(99), "t", .reject("unsupported-platform")),
        ])
    func platforms(platform: Platform, token: String, expected: PlannedPush.Decision) {
        let plan = PushPlanner.plan(
            Samples.target(platform: platform, token: token), of: Samples.dispatch(1, expiresAtMs: 2000),
            id: .creation, facts: DeviceFacts(), nowMs: 0)
        #expect(plan.map(\.decision) == [expected])
    }

    @Test(
        "a background push goes beside the alert only on APNs, when allowed, and within the challenge's budget",
        arguments: [
            (Platform.apn, true, UInt32(2), 0, true), (.apn, true, 2, 1, true), (.apn, true, 2, 2, false),
            (.apn, true, 0, 0, false), (.apn, false, 2, 0, false), (.fcm, true, 2, 0, false),
        ])
    func background(platform: Platform, allowed: Bool, budget: UInt32, used: Int, isPlanned: Bool) {
        var facts = DeviceFacts()
        facts.backgroundUsed = used
        var target = Samples.target(platform: platform, budget: budget)
        target.notificationsDisabled = true
        let plan = PushPlanner.plan(
            target, of: Samples.dispatch(1, expiresAtMs: 2000, background: allowed), id: .creation, facts: facts,
            nowMs: 0)
        #expect(plan.map(\.kind) == (isPlanned ? [.visible, .background] : [.visible]))
        #expect(plan.allSatisfy { $0.decision == .push })
    }

    @Test("a resend counts what the challenge used already, an attempt has what is left")
    func backgroundLeft() throws {
        var facts = DeviceFacts()
        facts.backgroundUsed = 1
        func kinds(_ id: DispatchID) -> [PushKind] {
            PushPlanner.plan(
                Samples.target(platform: .apn, budget: 1),
                of: Samples.dispatch(1, id: id.description, expiresAtMs: 2000, background: true), id: id, facts: facts,
                nowMs: 0
            ).map(\.kind)
        }
        #expect(kinds(.attempt(1)) == [.visible, .background])
        #expect(kinds(try #require(DispatchID("n:NT0300000000000000000000000000aaaa"))) == [.visible])
    }

    @Test("of an alert that is done and a background push that is not, the second is sent")
    func half() {
        var facts = DeviceFacts()
        facts.done = [.visible]
        let plan = PushPlanner.plan(
            Samples.target(platform: .apn, budget: 1),
            of: Samples.dispatch(1, expiresAtMs: 2000, background: true), id: .creation, facts: facts, nowMs: 0)
        #expect(plan.map(\.decision) == [.drop(.alreadyDone), .push])
    }

    @Test(
        "a newer registration is used instead of the record's, an older one is not, and the budget stays the challenge's"
    )
    func registration() {
        var facts = DeviceFacts()
        facts.registration = Samples.target(token: "new", budget: 9, registeredAtMs: 2000)
        func token(recordedAtMs: Int64) -> DispatchTarget {
            PushPlanner.plan(
                Samples.target(token: "old", budget: 1, registeredAtMs: recordedAtMs),
                of: Samples.dispatch(1, expiresAtMs: 5000), id: .creation, facts: facts, nowMs: 0)[0].target
        }
        #expect(token(recordedAtMs: 1000).pushToken == "new")
        #expect(token(recordedAtMs: 1000).backgroundBudget == 1)
        #expect(token(recordedAtMs: 3000).pushToken == "old")
    }

    @Test("the push id is a function of challenge, factor, dispatch and kind, and of all four")
    func pushID() {
        let challenge = "YC0300000000000000000000000000cccc"
        let factor = "YF0300000000000000000000000000dddd"
        func make(_ challenge: String, _ factor: String, _ dispatch: String, _ kind: PushKind) -> String {
            PushID.make(challenge: challenge, factor: factor, dispatch: dispatch, kind: kind)
        }
        // Computed with Python's hashlib.
        #expect(make(challenge, factor, "c", .visible) == "892bf221-fdcb-8d06-87d5-895148396c2c")
        let all = [
            make(challenge, factor, "c", .visible), make(challenge, factor, "c", .background),
            make(challenge, factor, "t1", .visible), make(challenge, challenge, "c", .visible),
            make(factor, factor, "c", .visible),
        ]
        #expect(Set(all).count == all.count)
    }

    @Test(
        "only what may have changed in a moment is tried again, once there is time",
        arguments: [
            (Disposition.deferred, "connection", 0, Int64(0), Int64(10_000), Int64(100)),
            (.deferred, "connection", 0, 700, 10_000, 700), (.deferred, "connection", 0, 1001, 10_000, nil),
            (.deferred, "connection", 0, 700, 2699, nil), (.deferred, "connection", 0, 700, 2700, 700),
            (.deferred, "ServiceUnavailable", 503, 500, 10_000, 500),
            (.deferred, "InternalServerError", 500, 0, 10_000, 100),
            (.deferred, "busy", 0, 250, 10_000, 250), (.deferred, "access-token", 0, 100, 10_000, 100),
            (.deferred, "stalled", 0, 100, 10_000, nil), (.deferred, "TooManyRequests", 429, 0, 10_000, nil),
            (.deferred, "circuit-open", 0, 0, 10_000, nil),
            (.deferred, "unknown-credential", 0, 0, 10_000, nil), (.unknown, "connection", 0, 0, 10_000, nil),
            (.rejected, "connection", 0, 0, 10_000, nil),
        ] as [(Disposition, String, Int, Int64, Int64, Int64?)])
    func quickRetry(
        disposition: Disposition, reason: String, status: Int, retryAtMs: Int64, expiresAtMs: Int64, expected: Int64?
    ) {
        let rule = QuickRetry(withinMs: 1000, leftMs: 2000)
        let answer = PushAnswer(
            disposition: disposition, reason: reason, status: status, retryAtMs: retryAtMs)
        #expect(rule.delayMs(after: answer, expiresAtMs: expiresAtMs, nowMs: 0) == expected)
    }
}
