#include "app/preset_setting.h"

#include <gtest/gtest.h>

#include <chrono>

#include "app/files_for_test.h"

namespace infinicache::app {
namespace {

using std::chrono::milliseconds;

TEST(LoadPrices, APresetBringsItsPriceAndTheTableAStorageBeside) {
  Settings settings;
  settings.preset = "lambda-2019";
  const auto prices = LoadPrices(settings);
  ASSERT_TRUE(prices);
  EXPECT_EQ(prices->nodes.name, "lambda-2019");
  EXPECT_EQ(prices->nodes.Billing().quantum, milliseconds(100));
  ASSERT_TRUE(prices->storage);
  EXPECT_EQ(prices->storage->name, "s3-standard");
}

TEST(LoadPrices, ABillingQuantumOfTheSettingsIsBilledBy) {
  Settings settings;
  settings.preset = "lambda-2019";
  settings.billing_quantum = milliseconds(20);
  EXPECT_EQ(LoadPrices(settings)->nodes.Billing(), (policy::BillingRule{milliseconds(20), {}}));
  settings.billing_quantum = Duration(0);
  EXPECT_EQ(LoadPrices(settings)->nodes.Billing(), (policy::BillingRule{Duration(1), {}}));
}

TEST(LoadPrices, ATableWithoutStorageHasNothingStoredBeside) {
  const FileForTest file(R"([pods]
kind = "instance_hours"
description = "pods"
source = "our bill"
date = 2026-11-25
dollars_per_gb_hour = 0.01
dollars_per_vcpu_hour = 0.02
)");
  Settings settings;
  settings.price_file = file.path();
  settings.price = settings.provisioned_price = "pods";
  const auto prices = LoadPrices(settings);
  ASSERT_TRUE(prices) << prices.error().message;
  EXPECT_FALSE(prices->storage);
}

}  // namespace
}  // namespace infinicache::app
