import ChallengeModel
import Testing

@testable import Webhooks

@Suite("Which webhooks may have stored events")
struct BacklogsTests {
    @Test("what is written while the list is read is not forgotten, and what was delivered is, at the next reading")
    func overlap() {
        let backlogs = Backlogs()
        let webhook = WebhookSID.generate(nowMs: 0)
        backlogs.write(webhook, in: 3)
        // This reading does not see the row, which is committed after it.
        backlogs.begin()
        backlogs.written(webhook, in: 3)
        backlogs.end([])
        #expect(backlogs.has(webhook, in: 3))
        backlogs.begin()
        backlogs.end([])
        #expect(!backlogs.has(webhook, in: 3))
        // Written and committed between the beginning of a reading and its end.
        backlogs.begin()
        backlogs.write(webhook, in: 3)
        backlogs.written(webhook, in: 3)
        backlogs.end([])
        #expect(backlogs.has(webhook, in: 3))
    }
}
