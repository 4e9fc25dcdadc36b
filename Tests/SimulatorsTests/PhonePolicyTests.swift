import DeviceKit
import Foundation
import Testing

@testable import Simulators

@Suite("How a phone decides")
struct PhonePolicyTests {
    static func message(_ kind: PushMessage.Kind, _ dispatch: String = "c", challenge: Int = 1) throws -> PushMessage {
        try PushMessage(values: [
            "type": PushMessage.type, "challenge_sid": "YC" + String(repeating: "\(challenge)", count: 32),
            "factor_sid": "YF" + String(repeating: "0", count: 32), "kind": kind.rawValue, "dispatch": dispatch,
            "expires_at": "1970-01-01T00:00:10Z", "receipt_token": "r",
        ])
    }

    private static let approval: [PhoneAction] = [.fetch, .answer(approved: true)]

    @Test(
        "the first visible and the first background push, per behaviour",
        arguments: [
            (
                PhoneBehaviour.answers, [.display, .confirm(.visible, .yes)] + approval,
                [.confirm(.background, .unknown)]
            ),
            (
                .denies, [.display, .confirm(.visible, .yes), .fetch, .answer(approved: false)],
                [.confirm(.background, .unknown)]
            ),
            (.ignores, [.display, .confirm(.visible, .yes), .watch], [.confirm(.background, .unknown)]),
            (.notificationsOff, [.lose("notifications are off")], [.confirm(.background, .no)] + approval),
            (.closed, [.display, .keep, .confirm(.visible, .yes)], [.lose("the app is closed")]),
            (
                .slow(7), [.wait(milliseconds: 7), .display, .confirm(.visible, .yes)] + approval,
                [.wait(milliseconds: 7), .confirm(.background, .unknown)]
            ),
            (.forges, [.display, .confirm(.visible, .yes), .fetch, .forge], [.confirm(.background, .unknown)]),
        ] as [(PhoneBehaviour, [PhoneAction], [PhoneAction])])
    func table(behaviour: PhoneBehaviour, visible: [PhoneAction], background: [PhoneAction]) throws {
        var policy = PhonePolicy(behaviour)
        #expect(policy.receive(try Self.message(.visible), .apn, nowMs: 0) == visible)
        policy = PhonePolicy(behaviour)
        #expect(policy.receive(try Self.message(.background), .apn, nowMs: 0) == background)
    }

    @Test(
        "a phone that somebody handles answers nothing by itself, and shows nothing while its notifications are off",
        arguments: [
            (PhoneBehaviour.answers, [.display, .confirm(.visible, .yes), .watch], [.confirm(.background, .unknown)]),
            (.denies, [.display, .confirm(.visible, .yes), .watch], [.confirm(.background, .unknown)]),
            (.notificationsOff, [.confirm(.visible, .no)], [.confirm(.background, .no)]),
            (.closed, [.display, .keep, .confirm(.visible, .yes)], [.lose("the app is closed")]),
        ] as [(PhoneBehaviour, [PhoneAction], [PhoneAction])])
    func attended(behaviour: PhoneBehaviour, visible: [PhoneAction], background: [PhoneAction]) throws {
        var policy = PhonePolicy(behaviour, isAttended: true)
        // FCM: on APNs a visible push runs nothing while notifications are off.
        #expect(policy.receive(try Self.message(.visible), .fcm, nowMs: 0) == visible)
        #expect(policy.answer(try Self.message(.visible).challengeSID) == [.fetch, .watch], "the app was opened")
        #expect(policy.opensSheets == [.answers, .denies].contains(behaviour))
        policy = PhonePolicy(behaviour, isAttended: true)
        #expect(policy.receive(try Self.message(.background), .fcm, nowMs: 0) == background)
    }

    @Test("a challenge pushed again is confirmed again, shown once and answered once")
    func repeated() throws {
        var policy = PhonePolicy(.answers)
        _ = policy.receive(try Self.message(.visible), .apn, nowMs: 0)
        #expect(
            policy.receive(try Self.message(.visible, "t1"), .apn, nowMs: 0)
                == [.confirm(.visible, .yes), .ignore("answered before")])
        #expect(policy.displayedCount == 1)
        #expect(policy.receive(try Self.message(.background, "t1"), .apn, nowMs: 0) == [.confirm(.background, .yes)])
        policy.failed(try Self.message(.visible).challengeSID)
        #expect(
            policy.receive(try Self.message(.visible, "t2"), .apn, nowMs: 0)
                == [.confirm(.visible, .yes)] + Self.approval, "an answer that came to nothing is tried again")
    }

    @Test("drops:2 loses two visible pushes and the background pushes beside them, then answers")
    func drops() throws {
        var policy = PhonePolicy(.drops(2))
        func isLost(_ kind: PushMessage.Kind, _ dispatch: String) throws -> Bool {
            if case .lose? = policy.receive(try Self.message(kind, dispatch), .apn, nowMs: 0).first {
                true
            } else {
                false
            }
        }
        #expect(try isLost(.visible, "c") && isLost(.background, "c"))
        #expect(try isLost(.background, "t1"), "ahead of its visible push")
        #expect(try isLost(.visible, "t1") && isLost(.background, "t1"))
        #expect(try !isLost(.visible, "t2") && !isLost(.background, "t2"))
        #expect(policy.displayedCount == 1)
    }

    @Test("an expired push does nothing")
    func expired() throws {
        var policy = PhonePolicy(.answers)
        #expect(policy.receive(try Self.message(.visible), .apn, nowMs: 10_000) == [.ignore("expired")])
        #expect(policy.displayedCount == 0)
    }

    @Test("with notifications off an FCM message still runs the app, which shows nothing")
    func notificationsOffFCM() throws {
        var policy = PhonePolicy(.notificationsOff)
        #expect(
            policy.receive(try Self.message(.visible), .fcm, nowMs: 0) == [.confirm(.visible, .no)] + Self.approval)
        #expect(policy.displayedCount == 0)
    }

    @Test("behaviours are read from their texts and written back")
    func texts() throws {
        for text in [
            "answers", "denies", "ignores", "drops:3", "notifications-off", "closed", "polls", "deleted", "slow:250",
            "offline", "forges", "reinstalls", "mute",
        ] {
            #expect(PhoneBehaviour(text)?.description == text)
        }
        for bad in ["", "answer", "drops", "drops:", "drops:-1", "drops:1001", "slow:x", "answers:1", "slow:600001"] {
            #expect(PhoneBehaviour(bad) == nil, "\(bad)")
        }
    }
}
