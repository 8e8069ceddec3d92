-- The state of a bot at work under schema 0003, with rows in every table. Its secrets.key is 32 times the letter k.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE audit (
	seq INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	verb TEXT NOT NULL, 
	request_id TEXT, 
	facts TEXT NOT NULL, 
	personal TEXT, 
	salt BLOB, 
	personal_digest TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "audit" VALUES(1,1800000000.0,'bot:registered',NULL,'{}','{"user_id":"@onboard:example.org"}',X'3B2CE90B6A47EE0C7AB9B1FF7110EBB7','d65925f90f147d87211fb74738df5149db3966ec30b64fba09078ed066522dcf','cc185bc08a22d520d03b13c0a4faa888e7139f764fde49e368e7a91c97c5eab4');
INSERT INTO "audit" VALUES(2,1800000000.0,'request:made','wm89m','{"admin":false,"origin":"admin_room","quiet":false,"type":null}','{"display_name":"Bob Builder","event_id":"$event1","note":"welcome","requester":"@ada:example.org","room_id":"!admins:example.org","username":"bob"}',X'7ECC0CFE837D6D2E29CF1797FD991373','658f8d6e9b1be80af4fa77b5bdb264642a0e7216e9eab409d92247749b0c1f20','fc6e803c03a3220bb8277a3518ebb2272f2b4b6a32bcb92ed86f89db75bba038');
INSERT INTO "audit" VALUES(3,1800000000.0,'request:approved','wm89m','{"rule":"power_level"}','{"by":"@ada:example.org","event_id":"$event1"}',X'DB593A5AC94D618ABBA7D3B5BD9F22FA','daa526a648de07ac6428292c98a7ef4498dfebeed0621d6a9ed622aebbaa8b92','ce5abe2918a90a51faea738dcaeae5f496892a16bd1103b7a00ea155dac7ad76');
INSERT INTO "audit" VALUES(4,1800000000.0,'account:creating','wm89m','{}','{"username":"bob"}',X'9DAB7E1BB0A39FFB1CF675A49135E9E9','757b307f13142b6d5b2bcd8f1be07555898005988dff49114c0fc2149140b5cc','6ad6f35de27661e9270a24bbf7d7df5dbef955e6b08ed3a97cdf06401b0685c6');
INSERT INTO "audit" VALUES(5,1800000000.0,'account:created','wm89m','{"server_answer":"created"}','{"user_id":"@bob:example.org"}',X'A775528316CFB3CFB8CEF77F12288453','b78f53cbe9ce5a64ab8ef66240e001d29e7fd7c9da8b5f12294d8f1cd0a7c43b','eaa814bdf5f6a981dc607787aeece681d86c410e18aad435a1cc3e24dc7dec64');
INSERT INTO "audit" VALUES(6,1800000000.0,'credentials:sent','wm89m','{}','{"event_id":"$event3","room_id":"!direct-with-ada:example.org","to":"@ada:example.org"}',X'1C342E040ECD7FC1CFAD93686661B8E3','9191b7dc8796d4948bf0381c6ef55377c344afcdd9f28406b94f81c2f4997002','59fa46480e6695e14df1b95f20e64e5a37b9d646dcd9969d960add898cabd873');
INSERT INTO "audit" VALUES(7,1800000000.0,'request:made','rm46x','{"admin":false,"origin":"admin_room","quiet":false,"type":null}','{"display_name":null,"event_id":"$event4","note":null,"requester":"@ada:example.org","room_id":"!admins:example.org","username":"bob"}',X'15AACED57BC23B8273FF973AD6428DFA','a495cdaa0326e26bd714aa966d52d1ec0657e16079d563e12021fd8013e3df08','38fc8b128eab4ccb14c6caa7fcc7cf987f4534d8b43309e2f9778f01f9e70ead');
INSERT INTO "audit" VALUES(8,1800000000.0,'request:approved','rm46x','{"rule":"power_level"}','{"by":"@ada:example.org","event_id":"$event4"}',X'2B987E98AF3B0C3333B1785C8EA0FA44','8f5451b6893438f51cfe041fae41f1ceb76a8ac89f85ebcff9d3c21c347e902f','3cec4e204a9990e6c5fc03a556c617af9faab9cd6cdfa16bb114541d3120d7a2');
INSERT INTO "audit" VALUES(9,1800000000.0,'account:creating','rm46x','{}','{"username":"bob"}',X'12136138ABDD73C4696748740BCC034E','3825dca9dfdec8f4336a0d985de376302e879a2a3dbcd096f0e2848a3aff8a28','9cb22602861fd852cae7992fd49495d02c687f14fd8f1de08c37fa38e2f7423d');
INSERT INTO "audit" VALUES(10,1800000000.0,'account:failed','rm46x','{"server_answer":"username_taken"}','{"username":"bob"}',X'F712C3509394B88D962521D1B45B6DE0','6f1b2a1990bf560331efaba19bad60eb1fa427a31ced48c7c41fa423ed3aff1d','d86856b58e4e7662aefc9b7f21f1668a9c69f534687393337694459d6a666c63');
INSERT INTO "audit" VALUES(11,1800000060.0,'request:made','akr8a','{"admin":false,"origin":"admin_room","quiet":false,"type":null}','{"display_name":null,"event_id":"$event6","note":null,"requester":"@ada:example.org","room_id":"!admins:example.org","username":"frank"}',X'5484C98A4B65F6AACB6C9F92721AF7BE','252ec467ad6c039aa1497ca06f680f03d592503b48549013a4305b99cc6a102d','c4c824d08eeb058b365a9fdae3b5b2203c798a49451cfeaa3a6bdf581a12136c');
INSERT INTO "audit" VALUES(12,1800000060.0,'request:approved','akr8a','{"rule":"power_level"}','{"by":"@ada:example.org","event_id":"$event6"}',X'6604941A01E63A15F78407805AD61A27','d892cd488646c794481f4aa0aefea16236203d1913ccd64bf588827c80e4a2db','1720a6258167fe68c9e46177aab458c138f4db29936c7c73e1254001c4287dd5');
INSERT INTO "audit" VALUES(13,1800000060.0,'account:creating','akr8a','{}','{"username":"frank"}',X'C0E49F6B2C4570BF19111011E0E2EF44','4192a5728f8b079326b432e52560efb71798ea013c7365d6833bd1837da8fb9f','55ffb6f6358f71ea86c92cc33a276e8f7544baa2a1ff4e757e19c6cfb7e69b8e');
INSERT INTO "audit" VALUES(14,1800000060.0,'account:created','akr8a','{"server_answer":"created"}','{"user_id":"@frank:example.org"}',X'42CE20C809E2AC373D7187A22FE70E32','df3ff04b4c3371f86cdef1761fd1234c428ffa685216a69da09acedabc74b2f7','bb1a3db9064e938f6857062719c330321f5711a59f3b63834e6ec2ee1bb5a4f8');
INSERT INTO "audit" VALUES(15,1800000060.0,'request:made','a6667','{"admin":false,"origin":"admin_room","quiet":false,"type":"support"}','{"display_name":"Carol","event_id":"$event7","note":null,"requester":"@ada:example.org","room_id":"!admins:example.org","username":"carol"}',X'9B83956D09D02D0953F5C0A307FA3E5E','9327df59663e95a5aa460dee83447d88cb850bad06404b6900c3d5f3ca8c950f','38e684f2aec7fcf28a52dbdb2cbcf78c1519099e8981a9c17f3929693d6da598');
INSERT INTO "audit" VALUES(16,1800000060.0,'request:approved','a6667','{"rule":"power_level"}','{"by":"@ada:example.org","event_id":"$event7"}',X'783B1A3C867059FA72345169EE6DA3AD','d6a9fe4a1374a2d1cc9f00a35b673730e32a3623b132a735f7e5b52d74571348','57e17f3ab374cffbedac704d609528786fedd3ae9bb2fd20902fcd1efb094b98');
INSERT INTO "audit" VALUES(17,1800000060.0,'request:made','494m7','{"admin":false,"origin":"admin_room","quiet":false,"type":null}','{"display_name":null,"event_id":"$event8","note":null,"requester":"@ada:example.org","room_id":"!admins:example.org","username":"dora"}',X'F0E7FBC8552E1D9D04BFB6C7643D2964','70f4a5024671fca6576be7bba819444a752e616d362f6af0e00bd86373c27c1c','189c6db663587972ddf77758c20593dbad1ca3fa6ae554e5423d93b4f6e97e60');
INSERT INTO "audit" VALUES(18,1800000060.0,'request:approved','494m7','{"rule":"power_level"}','{"by":"@ada:example.org","event_id":"$event8"}',X'D3138011BAB286B4C23E29EB68A7A4B7','2a0ce50b0ad9ddbe96dfad0552b837840061f5c30c6d2c68be5fe21c9a506449','9d41b944f1f93d01c9522700774b6569d32bc82df101fa3d20beb4d3f69b0a7a');
INSERT INTO "audit" VALUES(19,1800000060.0,'account:creating','494m7','{}','{"username":"dora"}',X'6222C5D22886465022EBE00EC570EA57','386f77bd178a8cc09b97fc47a49b51fc72652b6c5b89e3e9840e69c738915d1d','3c8b6a897694eec0dced9a3c70d526269754abad98d37402c38e2e353996c9dc');
INSERT INTO "audit" VALUES(20,1800000060.0,'request:made','82k24','{"admin":false,"origin":"admin_room","quiet":false,"type":null}','{"display_name":null,"event_id":"$event9","note":null,"requester":"@ada:example.org","room_id":"!admins:example.org","username":"gwen"}',X'8EB02AADD9B150A713DF0A1DCF4BFF10','e428956099ee164c03a303c3dfd4ab8ae69ff39e8bdc7804c5fb4e35df54ba4a','61e843fedda220142cebf9f6a573c2ad64e50aaae8c314ee96a3b5bea501ad62');
INSERT INTO "audit" VALUES(21,1800000060.0,'request:approved','82k24','{"rule":"power_level"}','{"by":"@ada:example.org","event_id":"$event9"}',X'CBAE272634089266FB3DB1FF7CDF1659','93f27510532ac36eed43acafb95800ceb1ed1ae7dd863ec962b114610b4236c5','141043fb9af6aaee7ff46ace0b9cbd46c22190e208b538ac0e30eb99442fad25');
INSERT INTO "audit" VALUES(22,1800000060.0,'account:creating','82k24','{}','{"username":"gwen"}',X'4A049A0EC21B7CB1464EA71987F456AB','2c7788a745178e761a531d886edb3dd6d223355309ee56d991904ed0134a3138','5991d3ea585cf9cba1c61d498f33fa5264131e88053ad2c3bffef81e55457139');
INSERT INTO "audit" VALUES(23,1800000060.0,'account:unknown','82k24','{}','{"username":"gwen"}',X'B38E7A1B9131A1CA8AB42649AB4ABE22','680510341041a8ef5332b54f2b8bf8839a804579360f0a204eca49a390d23dfb','5204faad29195d14b5058b5a9fe01b5f2f6bab92cd91b609a173bd738e3d8178');
INSERT INTO "audit" VALUES(24,1800000090.0,'identity:reset',NULL,'{"master_key":"tPlrfUwIUmXXEB2uI5OMMTUDPegQWL4ugSdTtyBjOEg"}','{}',X'AB8BFF4B54514EA8C1AF5C38ADDEC987','d1b6d7a27a007609d873c8a065f061222f0d3b8859ae96bb58c094235558abc3','bf71e0a2a90aa7b192ed8017f72945eb051bbb1727cfe163baae8436fbe8a28e');
INSERT INTO "audit" VALUES(25,1800000100.0,'identity:changed',NULL,'{}','{"changed_to":"BHv7J3WifBWSXiCeD3bEfGnbfRY5YqxRG12FpCo7tvc","master_key":"WhspEzyUVb4tTyM4x0TzjIALOz2Xj44t3kkjYAFI9J0","user_id":"@bob:example.org"}',X'5C2F257DD30897D59D74641452B6D33B','8225ce161843fb9ab1ae7d2e0c4ff4574b5fd30b837eee14f265770ddda4b9e6','8f3792005b94432b0af5df41269a0bd75050b571494f614537a517dc35f82e02');
INSERT INTO "audit" VALUES(26,1800000100.0,'identity:changed',NULL,'{}','{"changed_to":"aIzpKaBCHK4NZ9BddZ8h8HZLU5vUpNyvTo8P/BwLRxs","master_key":"jneie+1gGQSX5wSMFUBfqKaM81rj4U01EEeAwfaUjuo","user_id":"@cleo:example.org"}',X'379D15DAF1CBC5611D0D17DAAEFE6BC8','0657b7f82d09f4134377fcb11fa8acb196db04d087db24f76b77e4d6572eb34c','8a9a64d92ce62d5f33a8018b123c297d08d7fe33311b124697204c608f039a95');
INSERT INTO "audit" VALUES(27,1800000110.0,'identity:accepted',NULL,'{"by_operator":false}','{"by":"@ada:example.org","event_id":"$event14","instead_of":"WhspEzyUVb4tTyM4x0TzjIALOz2Xj44t3kkjYAFI9J0","master_key":"BHv7J3WifBWSXiCeD3bEfGnbfRY5YqxRG12FpCo7tvc","user_id":"@bob:example.org"}',X'58EA5F9DD7965A5FA2D1123371739A13','86e4dbe72afbf6aa6a936d8155c6614aa566d5bd9f4de2bf8cb985ab7ced457b','d89031705d1f940829388ebb606a3240fd86f20391422268dab3a05a75447616');
CREATE TABLE identities (
	user_id TEXT NOT NULL, 
	master_key TEXT NOT NULL, 
	changed_to TEXT, 
	change INTEGER DEFAULT '0' NOT NULL, 
	told_after INTEGER, 
	PRIMARY KEY (user_id)
);
INSERT INTO "identities" VALUES('@ada:example.org','qQHArYXHhJGTkALX2cT0RDMnZEwYg0wgwzsEX/Trm4k',NULL,0,NULL);
INSERT INTO "identities" VALUES('@bob:example.org','BHv7J3WifBWSXiCeD3bEfGnbfRY5YqxRG12FpCo7tvc',NULL,1,NULL);
INSERT INTO "identities" VALUES('@cleo:example.org','jneie+1gGQSX5wSMFUBfqKaM81rj4U01EEeAwfaUjuo','aIzpKaBCHK4NZ9BddZ8h8HZLU5vUpNyvTo8P/BwLRxs',1,10);
CREATE TABLE inbox (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	event_id TEXT NOT NULL, 
	room_id TEXT NOT NULL, 
	sender TEXT NOT NULL, 
	type TEXT NOT NULL, 
	content JSON, 
	encrypted BOOLEAN NOT NULL, 
	received_at FLOAT NOT NULL, 
	done BOOLEAN NOT NULL, sender_key TEXT, fingerprint TEXT, session_id TEXT, message_index INTEGER, 
	UNIQUE (event_id)
);
INSERT INTO "inbox" VALUES(1,'$event1','!admins:example.org','@ada:example.org','m.room.message','null',0,1800000000.0,1,NULL,NULL,NULL,NULL);
INSERT INTO "inbox" VALUES(2,'$event4','!admins:example.org','@ada:example.org','m.room.message','null',0,1800000000.0,1,NULL,NULL,NULL,NULL);
INSERT INTO "inbox" VALUES(3,'$event6','!admins:example.org','@ada:example.org','m.room.message','null',0,1800000060.0,1,NULL,NULL,NULL,NULL);
INSERT INTO "inbox" VALUES(4,'$event7','!admins:example.org','@ada:example.org','m.room.message','null',0,1800000060.0,1,NULL,NULL,NULL,NULL);
INSERT INTO "inbox" VALUES(5,'$event8','!admins:example.org','@ada:example.org','m.room.message','null',0,1800000060.0,1,NULL,NULL,NULL,NULL);
INSERT INTO "inbox" VALUES(6,'$event9','!admins:example.org','@ada:example.org','m.room.message','null',0,1800000060.0,1,NULL,NULL,NULL,NULL);
INSERT INTO "inbox" VALUES(7,'$event10','!admins:example.org','@ada:example.org','m.room.message','{"msgtype": "m.text", "body": "!register erin"}',0,1800000060.0,0,NULL,NULL,NULL,NULL);
INSERT INTO "inbox" VALUES(8,'$event11','!sealed:example.org','@ada:example.org','m.room.message','null',1,1800000090.0,1,'E705xelfwNv5UHLAVcCUXzJDRNpcaa6IcBrBLUoVEpc','DGpe0Gq2LPGCJprAGv62LFBsq86Tu/Cn9CVEXIEEP0g','session-of-ada',11);
INSERT INTO "inbox" VALUES(9,'$event12','!sealed:example.org','@ada:example.org','m.room.message','null',1,1800000090.0,1,'E705xelfwNv5UHLAVcCUXzJDRNpcaa6IcBrBLUoVEpc','DGpe0Gq2LPGCJprAGv62LFBsq86Tu/Cn9CVEXIEEP0g','session-of-ada',12);
INSERT INTO "inbox" VALUES(10,'$event13','!sealed:example.org','@bob:example.org','m.room.message','null',1,1800000090.0,1,'DeEpQJp8iD7Zvq0PwjJ3SwmuJw0G1k6omTlJHM/L/Dg','fPKPkpEEvzEXJq9EJe5QX7GlLIK4HeY+udLX3xG5Hv8','session-of-bob',13);
INSERT INTO "inbox" VALUES(11,'$event14','!admins:example.org','@ada:example.org','m.room.message','null',0,1800000110.0,1,NULL,NULL,NULL,NULL);
CREATE TABLE jobs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	kind TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	lane TEXT NOT NULL, 
	payload JSON NOT NULL, 
	state TEXT NOT NULL, 
	run_after FLOAT NOT NULL, 
	attempts INTEGER NOT NULL, 
	first_attempt_at FLOAT, 
	created_at FLOAT NOT NULL, 
	finished_at FLOAT, 
	last_error TEXT, turn TEXT, first_attempt_by TEXT, faults INTEGER DEFAULT '0' NOT NULL, 
	UNIQUE ("key")
);
INSERT INTO "jobs" VALUES(1,'create_account','create:wm89m','request:wm89m','{}','done',1800000000.0,1,1800000000.0,1800000000.0,1800000000.0,NULL,NULL,'RSTUVWXYZA',0);
INSERT INTO "jobs" VALUES(2,'send','slow:$event1','slow:$event1','{}','done',1800000001.5,0,NULL,1800000000.0,1800000000.0,NULL,NULL,NULL,0);
INSERT INTO "jobs" VALUES(3,'answer','answer:$event1','room:!admins:example.org','{}','done',1800000000.0,1,1800000000.0,1800000000.0,1800000000.0,NULL,'@ada:example.org in !admins:example.org','RSTUVWXYZA',0);
INSERT INTO "jobs" VALUES(4,'deliver_credentials','credentials:wm89m','person:@ada:example.org','{}','done',1800000000.0,1,1800000000.0,1800000000.0,1800000000.0,NULL,NULL,'RSTUVWXYZA',0);
INSERT INTO "jobs" VALUES(5,'erase_credentials','erase:wm89m','request:wm89m','{"request_id": "wm89m"}','open',1800086400.0,0,NULL,1800000000.0,NULL,NULL,NULL,NULL,1);
INSERT INTO "jobs" VALUES(6,'create_account','create:rm46x','request:rm46x','{}','done',1800000000.0,1,1800000000.0,1800000000.0,1800000000.0,NULL,NULL,'RSTUVWXYZA',0);
INSERT INTO "jobs" VALUES(7,'send','slow:$event4','slow:$event4','{}','done',1800000001.5,0,NULL,1800000000.0,1800000000.0,NULL,NULL,NULL,0);
INSERT INTO "jobs" VALUES(8,'answer','answer:$event4','room:!admins:example.org','{}','done',1800000000.0,1,1800000000.0,1800000000.0,1800000000.0,NULL,'@ada:example.org in !admins:example.org','RSTUVWXYZA',0);
INSERT INTO "jobs" VALUES(9,'create_account','create:akr8a','request:akr8a','{}','done',1800000060.0,1,1800000060.0,1800000060.0,1800000060.0,NULL,NULL,'RSTUVWXYZA',0);
INSERT INTO "jobs" VALUES(10,'send','slow:$event6','slow:$event6','{}','done',1800000061.5,0,NULL,1800000060.0,1800000060.0,NULL,NULL,NULL,0);
INSERT INTO "jobs" VALUES(11,'answer','answer:$event6','room:!admins:example.org','{"request_id": "akr8a"}','open',1800000060.3205,1,1800000060.0,1800000060.0,NULL,'502','@ada:example.org in !admins:example.org','RSTUVWXYZA',1);
INSERT INTO "jobs" VALUES(12,'create_account','create:a6667','request:a6667','{"request_id": "a6667"}','open',1800000060.0,0,NULL,1800000060.0,NULL,NULL,NULL,NULL,1);
INSERT INTO "jobs" VALUES(13,'send','slow:$event7','slow:$event7','{"room_id": "!admins:example.org", "type": "m.reaction", "content": {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$event7", "key": "\u23f3"}}, "only_now": true}','open',1800000061.5,0,NULL,1800000060.0,NULL,NULL,NULL,NULL,1);
INSERT INTO "jobs" VALUES(14,'send','undelivered:zzzzz','room:!admins:example.org','{"room_id": "!admins:example.org", "type": "m.room.message", "content": {"msgtype": "m.notice", "body": "a warning", "m.mentions": {}}}','open',1800000060.0,0,NULL,1800000060.0,NULL,NULL,NULL,NULL,1);
INSERT INTO "jobs" VALUES(15,'create_account','create:494m7','request:494m7','{"request_id": "494m7"}','open',1800000061.0,1,1800000060.0,1800000060.0,NULL,'answer lost',NULL,'RSTUVWXYZA',1);
INSERT INTO "jobs" VALUES(16,'send','slow:$event8','slow:$event8','{"room_id": "!admins:example.org", "type": "m.reaction", "content": {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$event8", "key": "\u23f3"}}, "only_now": true}','open',1800000061.5,0,NULL,1800000060.0,NULL,NULL,NULL,NULL,1);
INSERT INTO "jobs" VALUES(17,'create_account','create:82k24','request:82k24','{}','done',1800000060.0,1,1800000060.0,1800000060.0,1800000060.0,NULL,NULL,'RSTUVWXYZA',0);
INSERT INTO "jobs" VALUES(18,'send','slow:$event9','slow:$event9','{"room_id": "!admins:example.org", "type": "m.reaction", "content": {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$event9", "key": "\u23f3"}}, "only_now": true}','open',1800000061.5,0,NULL,1800000060.0,NULL,NULL,NULL,NULL,1);
INSERT INTO "jobs" VALUES(19,'answer','answer:$event9','room:!admins:example.org','{"request_id": "82k24"}','open',1800000060.0,0,NULL,1800000060.0,NULL,NULL,'@ada:example.org in !admins:example.org',NULL,1);
INSERT INTO "jobs" VALUES(20,'tell_of_identity','identity:@bob:example.org:1','identity:@bob:example.org','{}','done',1800000100.0,1,1800000100.0,1800000100.0,1800000100.0,NULL,NULL,'RSTUVWXYZA',0);
INSERT INTO "jobs" VALUES(21,'tell_of_identity','identity:@cleo:example.org:1','identity:@cleo:example.org','{}','done',1800000100.0,1,1800000100.0,1800000100.0,1800000100.0,NULL,NULL,'RSTUVWXYZA',0);
CREATE TABLE joins (
	room_id TEXT NOT NULL, 
	event_id TEXT NOT NULL, 
	PRIMARY KEY (room_id)
);
INSERT INTO "joins" VALUES('!admins:example.org','$own-join');
INSERT INTO "joins" VALUES('!sealed:example.org','$own-join2');
CREATE TABLE meta (
	"key" VARCHAR NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('sync_token','s7');
INSERT INTO "meta" VALUES('epoch','0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f');
INSERT INTO "meta" VALUES('identity_reset_recorded','tPlrfUwIUmXXEB2uI5OMMTUDPegQWL4ugSdTtyBjOEg');
CREATE TABLE rate_limits (
	route TEXT NOT NULL, 
	hour INTEGER NOT NULL, 
	times INTEGER NOT NULL, 
	longest_wait FLOAT NOT NULL, 
	PRIMARY KEY (route, hour)
);
INSERT INTO "rate_limits" VALUES('/send',472222,3,4.5);
INSERT INTO "rate_limits" VALUES('/login',472222,1,60.0);
CREATE TABLE requests (
	id TEXT NOT NULL, 
	state TEXT NOT NULL, 
	username TEXT NOT NULL, 
	display_name TEXT, 
	admin BOOLEAN NOT NULL, 
	account_type TEXT, 
	room_sets JSON NOT NULL, 
	note TEXT, 
	quiet BOOLEAN NOT NULL, 
	origin TEXT NOT NULL, 
	requester TEXT NOT NULL, 
	origin_room TEXT NOT NULL, 
	origin_event TEXT NOT NULL, 
	thread_root TEXT, 
	created_at FLOAT NOT NULL, 
	finished_at FLOAT, 
	user_id TEXT, 
	error TEXT, 
	sealed_password BLOB, 
	credentials_event TEXT, 
	credentials_room TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (origin_event)
);
INSERT INTO "requests" VALUES('wm89m','created','bob','Bob Builder',0,NULL,'[]','welcome',0,'admin_room','@ada:example.org','!admins:example.org','$event1',NULL,1800000000.0,1800000000.0,'@bob:example.org',NULL,X'60A3543CB2E9269120170AC3E0426B27126493E95990CF9E082101E5195782B86C269E89DEEB50AF189E69A2D9AC738C35746FD4','$event3','!direct-with-ada:example.org');
INSERT INTO "requests" VALUES('rm46x','failed','bob',NULL,0,NULL,'[]',NULL,0,'admin_room','@ada:example.org','!admins:example.org','$event4',NULL,1800000000.0,1800000000.0,NULL,'username_taken',NULL,NULL,NULL);
INSERT INTO "requests" VALUES('akr8a','created','frank',NULL,0,NULL,'[]',NULL,0,'admin_room','@ada:example.org','!admins:example.org','$event6',NULL,1800000060.0,1800000060.0,'@frank:example.org',NULL,X'1DFCCD4DB420147BD32057DD7EA7554EC17F4B73EA1BEE641E7B0C3C9B55C1506BECAA60436C1B50F07D08402FED2082DBC4ED7F',NULL,NULL);
INSERT INTO "requests" VALUES('a6667','approved','carol','Carol',0,'support','[]',NULL,0,'admin_room','@ada:example.org','!admins:example.org','$event7',NULL,1800000060.0,NULL,NULL,NULL,X'2983432EEB71D4196E15CB667D6584AEDF32CF8593486E70B121898A164335E76FAF9C5AD101BBBC86C0D9C96792B72417544B13',NULL,NULL);
INSERT INTO "requests" VALUES('494m7','creating','dora',NULL,0,NULL,'[]',NULL,0,'admin_room','@ada:example.org','!admins:example.org','$event8',NULL,1800000060.0,NULL,NULL,NULL,X'42D0298B30A320647E3BC1414F559B0A54E5A55EA4B00D147FCE106CDEECEB52AB86267C02276FE7BA4B18B5D3DD8912BA21E45C',NULL,NULL);
INSERT INTO "requests" VALUES('82k24','unknown','gwen',NULL,0,NULL,'[]',NULL,0,'admin_room','@ada:example.org','!admins:example.org','$event9',NULL,1800000060.0,NULL,NULL,'homeserver_unreachable',X'05543F197639A646BF6A0C170856F93AC6A106222F436F96245F6FAF652C1D22CE9BA83307E11A0655736F0FD18254A8D0C75444',NULL,NULL);
CREATE TABLE rooms (
	marker TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	peer TEXT NOT NULL, 
	room_id TEXT, 
	made_by_bot BOOLEAN NOT NULL, encrypted BOOLEAN DEFAULT '0' NOT NULL, 
	PRIMARY KEY (marker), 
	UNIQUE (purpose, peer), 
	UNIQUE (room_id)
);
INSERT INTO "rooms" VALUES('marker','admin','','!admins:example.org',1,0);
INSERT INTO "rooms" VALUES('direct-marker','direct','@ada:example.org','!direct-with-ada:example.org',1,0);
INSERT INTO "rooms" VALUES('sealed-marker','direct','@bob:example.org','!sealed:example.org',1,1);
CREATE TABLE sync_journal (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	since TEXT, 
	body TEXT NOT NULL
);
INSERT INTO "sync_journal" VALUES(9,'s6','{"next_batch": "s7"}');
CREATE TABLE undecrypted (
	event_id TEXT NOT NULL, 
	room_id TEXT NOT NULL, 
	session_id TEXT NOT NULL, 
	event JSON NOT NULL, 
	received_at FLOAT NOT NULL, asked_at FLOAT, 
	PRIMARY KEY (event_id)
);
INSERT INTO "undecrypted" VALUES('$sealed','!admins:example.org','sss','{"event_id": "$sealed", "sender": "@ada:example.org", "type": "m.room.encrypted", "content": {"algorithm": "m.megolm.v1.aes-sha2", "session_id": "sss", "ciphertext": "ccc"}}',1800000060.0,NULL);
INSERT INTO "undecrypted" VALUES('$sealed2','!admins:example.org','ttt','{"event_id": "$sealed2", "sender": "@bob:example.org", "type": "m.room.encrypted", "content": {"algorithm": "m.megolm.v1.aes-sha2", "session_id": "ttt", "ciphertext": "ccc"}}',1800000110.0,1800000110.0);
CREATE TABLE withheld_keys (
	sender TEXT NOT NULL, 
	session_id TEXT NOT NULL, 
	room_id TEXT NOT NULL, 
	code TEXT NOT NULL, 
	received_at FLOAT NOT NULL, 
	PRIMARY KEY (sender, session_id)
);
INSERT INTO "withheld_keys" VALUES('@bob:example.org','ttt','!admins:example.org','m.unverified',1800000110.0);
INSERT INTO "withheld_keys" VALUES('@cleo:example.org','','','m.no_olm',1800000110.0);
CREATE INDEX jobs_open ON jobs (run_after) WHERE state = 'open';
CREATE INDEX audit_of_request ON audit (request_id);
CREATE INDEX jobs_in_turn ON jobs (turn, id) WHERE finished_at IS NULL;
CREATE INDEX jobs_in_lane ON jobs (lane, id) WHERE finished_at IS NULL;
CREATE INDEX inbox_open ON inbox (seq) WHERE done = 0;
CREATE UNIQUE INDEX one_open_request_per_username ON requests (username) WHERE state IN ('pending', 'approved', 'creating');
CREATE UNIQUE INDEX one_event_per_ciphertext ON inbox (session_id, message_index, sender) WHERE session_id IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('sync_journal',9);
INSERT INTO "sqlite_sequence" VALUES('inbox',11);
INSERT INTO "sqlite_sequence" VALUES('jobs',21);
COMMIT;
