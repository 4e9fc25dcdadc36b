import GRDB

extension Migrations {
    static func registerSilence(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("12 devices that never confirm") { try $0.execute(sql: silence) }
    }

    private static let silence = """
        -- 1: the device has never sent a receipt of its own. Of devices that are here already nobody knows: 0.
        ALTER TABLE factors ADD COLUMN silent INTEGER NOT NULL DEFAULT 0;
        """
}
